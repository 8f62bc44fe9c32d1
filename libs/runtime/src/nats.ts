/** One way to connect to NATS: for ever, whatever the server does. */
import { type Authenticator, connect, credsAuthenticator, Events, type NatsConnection } from 'nats';
import { Backoff, orAborted } from './backoff.ts';
import type { Logger } from './log.ts';

export interface NatsOptions {
  /** `nats://[user:password@]host:port`, several separated by commas. */
  url: string;
  /** Shown by `nats server report connections`. */
  name: string;
  /** Replies come to subjects that begin so; a NATS user may be allowed these alone. */
  inboxPrefix?: string;
  /** Contents of a .creds file. */
  creds?: Uint8Array;
  log: Logger;
  /** Ends the wait for the first connection. */
  signal: AbortSignal;
}

/**
 * Resolves once connected: waits while no server answers, says so in the log, and rejects only with the signal's reason.
 * Later losses are healed by the client; subscriptions come back with it.
 */
export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const { log, signal } = options;
  const backoff = new Backoff({ minMs: 100, maxMs: 2000 });
  const given = serversOf(options.url);
  const authenticator: Authenticator | undefined = options.creds ? credsAuthenticator(options.creds) : undefined;
  for (let tries = 1; ; tries++) {
    const attempt = connect({
      ...given,
      name: options.name,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      reconnectJitter: 250,
      timeout: 5000,
      pingInterval: 10_000,
      maxPingOut: 2,
      ignoreAuthErrorAbort: true,
      ...(options.inboxPrefix === undefined ? {} : { inboxPrefix: options.inboxPrefix }),
      ...(authenticator === undefined ? {} : { authenticator }),
    });
    // A connection that comes after we stopped waiting for it must not stay open.
    attempt.then((late) => (signal.aborted ? void late.close() : undefined)).catch(() => undefined);
    try {
      const nc = await orAborted(attempt, signal);
      logStatus(nc, log);
      return nc;
    } catch (error) {
      signal.throwIfAborted();
      const why = error instanceof Error ? error.message : String(error);
      if (tries === 1 || tries % 20 === 0) log.warn({ tries, why }, 'NATS cannot be reached yet; trying on.');
      await backoff.wait(signal);
    }
  }
}

function serversOf(text: string): { servers: string[]; user?: string; pass?: string } {
  const servers: string[] = [];
  const user: { user?: string; pass?: string } = {};
  for (const part of text.split(',')) {
    const url = new URL(part.trim());
    if (url.username !== '') {
      user.user = decodeURIComponent(url.username);
      user.pass = decodeURIComponent(url.password);
    }
    servers.push(url.host);
  }
  return { servers, ...user };
}

function logStatus(nc: NatsConnection, log: Logger): void {
  log.info({ server: nc.getServer() }, 'NATS connected.');
  const follow = async (): Promise<void> => {
    for await (const { type, data } of nc.status()) {
      if (type === Events.Disconnect) log.warn({ server: data }, 'NATS connection lost; the client connects again by itself.');
      else if (type === Events.Reconnect) log.info({ server: data }, 'NATS connected again.');
      else if (type === Events.Error) log.warn({ data }, 'NATS reported an error.');
    }
  };
  follow().catch((error: unknown) => log.warn({ err: error }, 'The status of NATS can no longer be followed.'));
}

/** Calls `listener` with false when the connection is lost and with true when it is back, until it is closed. */
export function onConnectionChange(nc: NatsConnection, listener: (connected: boolean) => void): void {
  const follow = async (): Promise<void> => {
    for await (const { type } of nc.status()) {
      if (type === Events.Disconnect) listener(false);
      else if (type === Events.Reconnect) listener(true);
    }
  };
  void follow();
}

/** Calls `listener` at each reconnect until the connection is closed. */
export function onReconnect(nc: NatsConnection, listener: () => void): void {
  onConnectionChange(nc, (connected) => {
    if (connected) listener();
  });
}

/** Sends what is buffered and closes; gives up after `limitMs`. */
export async function closeNats(nc: NatsConnection, limitMs = 3000): Promise<void> {
  if (nc.isClosed()) return;
  const limit = AbortSignal.timeout(limitMs);
  await orAborted(nc.drain(), limit).catch(() => undefined);
  if (!nc.isClosed()) await nc.close();
}
