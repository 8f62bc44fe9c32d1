/**
 * NBD server (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md): fixed newstyle, over a Unix socket and TCP at once. It
 * knows nothing of where disks come from: exports are looked up by name as clients ask for them.
 */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { PermanentError } from '@openservice/domain';
import type { BlockDevice } from '../device.ts';
import { Budget } from './budget.ts';
import { Connection, type ConnectionLimits } from './connection.ts';
import type { NbdExport, NbdExports } from './exports.ts';
import type { TlsMode } from './negotiation.ts';

const LIMITS: ConnectionLimits = { handshake: 30_000, silence: 30_000 };
const MAX_CONNECTIONS = 4096;
/** Clients that knock at the same time; a Unix socket turns away who is one too many. */
const BACKLOG = 4096;
/** ms that clients get to take their last replies. */
const GOODBYE = 5000;

export interface NbdServerOptions {
  exports: NbdExports;
  /** Path of a Unix socket; a socket that a dead process left there is replaced. */
  socket?: string;
  tcp?: { host: string; port: number };
  /** PEM. `required`: nothing is told or served in the clear over TCP. A Unix socket is always in the clear. Left out: no TLS. */
  tls?: { mode: Exclude<TlsMode, 'off'>; key: string; cert: string };
  limits?: Partial<ConnectionLimits>;
  maxConnections?: number;
}

export class NbdServer {
  readonly #options: NbdServerOptions;
  readonly #limits: ConnectionLimits;
  readonly #connections = new Set<Connection>();
  readonly #servers: Server[] = [];
  readonly #budgets = new WeakMap<BlockDevice, Budget>();
  #port: number | null = null;
  readonly #watchers = new Set<() => void>();

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
  }

  /** The port that TCP listens on; null before it does. */
  get port(): number | null {
    return this.#port;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** PermanentError `port_in_use`, or the system's. */
  async start(): Promise<void> {
    const { socket, tcp, tls } = this.#options;
    const secureContext = tls === undefined ? null : createSecureContext({ key: tls.key, cert: tls.cert });
    try {
      if (socket !== undefined) {
        rmSync(socket, { force: true });
        await this.#listen(this.#server('off', null), { path: socket });
      }
      if (tcp !== undefined) {
        const server = this.#server(tls?.mode ?? 'off', secureContext);
        await this.#listen(server, tcp);
        const address = server.address();
        this.#port = typeof address === 'object' && address !== null ? address.port : null;
      }
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Takes no new client, lets what is under way end, and hangs up; a client that does not take its replies is cut off. */
  async stop(): Promise<void> {
    const closed = this.#servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve)));
    for (const connection of this.#connections) connection.stop();
    await this.#drain(() => this.#connections.size === 0);
    for (const connection of this.#connections) connection.destroy();
    await Promise.all(closed);
    if (this.#options.socket !== undefined) rmSync(this.#options.socket, { force: true });
  }

  /** Hangs up on the clients of one export, as `stop` does. No new ones come where `exports` no longer finds it. */
  async disconnect(served: NbdExport): Promise<void> {
    const of = (): Connection[] => [...this.#connections].filter((connection) => connection.served === served);
    for (const connection of of()) connection.stop();
    await this.#drain(() => of().length === 0);
    for (const connection of of()) connection.destroy();
  }

  #server(tls: TlsMode, secureContext: ReturnType<typeof createSecureContext> | null): Server {
    const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) =>
      this.#connect(socket, tls, secureContext),
    );
    this.#servers.push(server);
    return server;
  }

  #connect(socket: Socket, tls: TlsMode, secureContext: ReturnType<typeof createSecureContext> | null): void {
    if (this.#connections.size >= (this.#options.maxConnections ?? MAX_CONNECTIONS)) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, {
      exports: this.#options.exports,
      tls,
      secureContext,
      limits: this.#limits,
      budgetOf: (device) => this.#budgetOf(device),
      onClosed: () => {
        this.#connections.delete(connection);
        for (const look of this.#watchers) look();
      },
    });
    this.#connections.add(connection);
  }

  #budgetOf(device: BlockDevice): Budget {
    const known = this.#budgets.get(device) ?? new Budget();
    this.#budgets.set(device, known);
    return known;
  }

  async #listen(server: Server, where: { path: string } | { host: string; port: number }): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      // Once it listens: a client that could not be taken (no more file descriptors) is told nothing and may try again.
      server.on('error', (cause: NodeJS.ErrnoException) => {
        if (cause.code !== 'EADDRINUSE') return reject(cause);
        const place = 'path' in where ? where.path : `${where.host}:${where.port}`;
        reject(
          new PermanentError('port_in_use', `Another program listens at ${place}; choose another place for NBD.`, { cause }),
        );
      });
      server.listen({ ...where, backlog: BACKLOG }, resolve);
    });
  }

  /** Resolves when `done`, or after GOODBYE. */
  async #drain(done: () => boolean): Promise<void> {
    if (done()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = (): void => {
      if (done()) resolve();
    };
    const limit = setTimeout(resolve, GOODBYE);
    this.#watchers.add(look);
    await promise;
    clearTimeout(limit);
    this.#watchers.delete(look);
  }
}
