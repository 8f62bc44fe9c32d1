import { expect } from 'chai';
import { z } from 'zod';
import { Backoff, createLog, orAborted, portText, readConfig, runProcess, sleep, traceIdOf, urlText } from '../src/index.ts';
import { childTraceparent, newTraceparent } from '../src/trace.ts';

const silent = createLog({ name: 'test', level: 'silent' });

describe('configuration', () => {
  const shape = { A_URL: urlText('redis'), A_PORT: portText, A_NAME: z.string().default('x') };

  it('is read from the environment, with defaults, and frozen', () => {
    const config = readConfig(shape, { A_URL: 'redis://h:1', A_PORT: '80', A_NAME: '', OTHER: 'y' });
    expect(config).to.deep.equal({ A_URL: 'redis://h:1', A_PORT: 80, A_NAME: 'x' });
    expect(config).to.be.frozen;
  });

  it('names every variable that is missing or wrong', () => {
    expect(() => readConfig(shape, { A_PORT: '70000' })).to.throw(/set A_URL.*A_PORT is wrong: it must be a port number/);
    expect(() => readConfig(shape, { A_URL: 'http://h', A_PORT: '1' })).to.throw(/A_URL is wrong: it must be a URL like redis:/);
  });
});

describe('log', () => {
  it('writes JSON lines and strikes out secrets at any usual depth', () => {
    const lines: string[] = [];
    const log = createLog({
      name: 'test',
      level: 'info',
      fields: { node: 'n' },
      destination: { write: (line) => lines.push(line) },
    });
    log.info({ spec: { secret_key: 'S3CRET', access_key: 'seen' }, token: 'S3CRET', a: { b: { password: 'S3CRET' } } }, 'Hello.');
    const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
    expect(lines.join()).to.not.include('S3CRET');
    expect(line).to.include({ level: 'info', name: 'test', node: 'n', msg: 'Hello.' });
    expect(line.spec).to.deep.equal({ secret_key: '[secret]', access_key: 'seen' });
  });
});

describe('backoff', () => {
  it('grows to its limit with jitter, and starts again after a reset', () => {
    const backoff = new Backoff({ minMs: 100, maxMs: 400 });
    const waits = [backoff.next(), backoff.next(), backoff.next(), backoff.next()];
    for (const [i, most] of [100, 200, 400, 400].entries()) expect(waits[i]).to.be.within(most / 2, most);
    backoff.reset();
    expect(backoff.next()).to.be.at.most(100);
  });

  it('ends its wait with the reason of the signal', async () => {
    const reason = new Error('enough');
    const abort = new AbortController();
    const asleep = sleep(60_000, abort.signal).catch((error: unknown) => error);
    const racing = orAborted(new Promise(() => undefined), abort.signal).catch((error: unknown) => error);
    abort.abort(reason);
    expect(await asleep).to.equal(reason);
    expect(await racing).to.equal(reason);
  });
});

describe('trace context', () => {
  it('keeps the trace in a child and starts a new one from nonsense', () => {
    const parent = newTraceparent();
    const child = childTraceparent(parent);
    expect(child).to.not.equal(parent);
    expect(traceIdOf(child)).to.equal(traceIdOf(parent));
    expect(traceIdOf(childTraceparent('nonsense'))).to.match(/^[0-9a-f]{32}$/);
  });
});

describe('a process', () => {
  const part = (name: string, log: string[], start?: () => Promise<void>) => ({
    name,
    start: async () => {
      log.push(`+${name}`);
      await start?.();
    },
    stop: async () => {
      log.push(`-${name}`);
    },
  });

  it('starts its parts in order and stops them in the reverse at SIGTERM', async () => {
    const log: string[] = [];
    const kick = async (): Promise<void> => {
      setImmediate(() => process.emit('SIGTERM'));
    };
    await runProcess([part('a', log), part('b', log, kick)], { log: silent, exit: (code) => log.push(`exit ${code}`) });
    expect(log).to.deep.equal(['+a', '+b', '-b', '-a', 'exit 0']);
  });

  it('exits 1 when a part cannot start, after stopping what began', async () => {
    const log: string[] = [];
    const fail = async (): Promise<void> => {
      throw new Error('no port');
    };
    await runProcess([part('a', log), part('b', log, fail), part('c', log)], {
      log: silent,
      exit: (code) => log.push(`exit ${code}`),
    });
    expect(log).to.deep.equal(['+a', '+b', '-b', '-a', 'exit 1']);
  });

  it('leaves behind a part that does not stop in its time', async () => {
    const log: string[] = [];
    const kick = async (): Promise<void> => {
      setImmediate(() => process.emit('SIGINT'));
    };
    const stuck = { name: 'stuck', start: async () => undefined, stop: () => new Promise<void>(() => undefined) };
    await runProcess([part('a', log, kick), stuck], { log: silent, stopLimitMs: 20, exit: (code) => log.push(`exit ${code}`) });
    expect(log).to.deep.equal(['+a', '-a', 'exit 0']);
  });
});
