import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** One connection, `send`, and what came back within `limitMs` once `enough` accepts it; undefined otherwise. */
function ask(host: string, port: number, send: string, enough: (got: Buffer) => boolean, limitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let got: Buffer = Buffer.alloc(0);
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(limitMs, () => end(false));
    socket.once('error', () => end(false));
    socket.once('close', () => end(false));
    socket.once('connect', () => {
      if (send !== '') socket.write(send);
    });
    socket.on('data', (part) => {
      got = Buffer.concat([got, part]);
      if (enough(got)) end(true);
      else if (got.length > 64 * 1024) end(false);
    });
  });
}

/** MySQL's first packet is its greeting (protocol 10); an error packet means it is not ready. */
export const mysqlAnswers = (host: string, port: number): Promise<boolean> =>
  ask(host, port, '', (got) => got.length > 4 && got[4] === 10, 1000);

/** A Redis that wants a password is up too. While it loads its data it answers -LOADING. */
export const redisAnswers = (host: string, port: number): Promise<boolean> =>
  ask(host, port, 'PING\r\n', (got) => /^(\+PONG|-NOAUTH)/.test(got.toString('latin1')), 1000);

export const natsAnswers = (host: string, port: number): Promise<boolean> =>
  ask(host, port, '', (got) => /^INFO .*"jetstream":\s*true/.test(got.toString('latin1')), 1000);

/** Any HTTP answer below 500 says that the gateway serves. */
export async function httpAnswers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
    await response.arrayBuffer();
    return response.status < 500;
  } catch {
    return false;
  }
}

/**
 * Asks again every `everyMs` until `probe` says yes. Answers false when `limitMs` have passed or `signal` fires;
 * whoever calls knows what to say then.
 */
export async function until(
  probe: () => Promise<boolean>,
  options: { limitMs: number; everyMs?: number; signal?: AbortSignal | undefined },
): Promise<boolean> {
  const deadline = Date.now() + options.limitMs;
  while (options.signal?.aborted !== true) {
    if (await probe()) return true;
    if (Date.now() > deadline) return false;
    await sleep(options.everyMs ?? 50);
  }
  return false;
}
