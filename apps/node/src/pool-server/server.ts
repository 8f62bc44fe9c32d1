/** The pool server: the pools of this node, for other nodes and other centers, over HTTPS (docs/pool-protocol.md). */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { isIPv6, type Socket } from 'node:net';
import { hostname } from 'node:os';
import type { ChunkWorkers } from '@openservice/codec';
import { asOpenServiceError, isId, MIB, type OpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import type { Pool } from '@openservice/pools';
import type { CenterReply, CenterRequest, Logger, Part } from '@openservice/runtime';
import type { ContentStore } from '../content/content-store.ts';
import { Access } from './access.ts';
import { ByteGate } from './byte-gate.ts';
import { loadCertificate } from './certificate.ts';
import { ChunkBuffers } from './chunk-buffers.ts';
import type { Limits, OpenReader, OpenSession, Shared } from './context.ts';
import { Exports } from './exports.ts';
import { IdleTable } from './idle-table.ts';
import { cutStalled, failureOf, sendJson, statusOf } from './respond.ts';
import { route } from './routes.ts';
import { Turns } from './turns.ts';

export const DEFAULT_LIMITS: Limits = {
  headMs: 15_000,
  bodyMs: 120_000,
  contentSilenceMs: 60_000,
  stallMs: 60_000,
  sessionIdleMs: 10 * 60_000,
  readerIdleMs: 60_000,
  connections: 512,
  sessions: 64,
  readers: 128,
};
const HANDSHAKE_MS = 10_000;
const KEEP_ALIVE_MS = 75_000;
/** Bytes of chunks that all requests hold: what comes, and what goes. */
const INCOMING_BYTES = 48 * MIB;
const OUTGOING_BYTES = 48 * MIB;

export interface PoolServerOptions {
  host: string;
  port: number;
  dataDir: string;
  nodeId: string;
  /** A pool of this node by its id; it stays the caller's. PermanentError for one that does not lie here. */
  pools: (poolId: string, signal: AbortSignal) => Promise<Pool>;
  workers: ChunkWorkers;
  /** Asks this node's center for a token for a client of another center. */
  login: (request: CenterRequest<'pool_login'>, signal: AbortSignal) => Promise<CenterReply<'pool_login'>>;
  content: ContentStore;
  log: Logger;
  /** Host under which others reach this node; left out: `host`, or the machine's name where that is every address. */
  advertise?: string;
  limits?: Partial<Limits>;
}

export interface PoolServer {
  readonly part: Part;
  /** `https://host:port` once it listens. */
  readonly endpoint: string | null;
  /** SHA-256 of the certificate (DER), hex, once it is loaded. */
  readonly fingerprint: string | null;
  /** Public key (Ed25519, SPKI DER, base64) of the tokens to accept from now on. PermanentError `bad_token_key`. */
  setTokenKey(spkiBase64: string): void;
}

export function createPoolServer(options: PoolServerOptions): PoolServer {
  return new HttpsPoolServer(options);
}

class HttpsPoolServer implements PoolServer {
  readonly part: Part;
  readonly #options: PoolServerOptions;
  readonly #limits: Limits;
  readonly #access = new Access();
  readonly #exports: Exports;
  readonly #shared: Shared;
  readonly #stopping = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #endpoint: string | null = null;
  #fingerprint: string | null = null;

  constructor(options: PoolServerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#exports = new Exports(options);
    this.#shared = this.#makeShared();
    this.part = { name: 'pool server', start: () => this.#start(), stop: () => this.#stop() };
  }

  get endpoint(): string | null {
    return this.#endpoint;
  }

  get fingerprint(): string | null {
    return this.#fingerprint;
  }

  setTokenKey(spkiBase64: string): void {
    this.#access.setKey(spkiBase64);
  }

  async #start(): Promise<void> {
    const { dataDir, nodeId, host, port, log } = this.#options;
    const { cert, key, fingerprint } = await loadCertificate(dataDir, nodeId);
    const server = createServer({
      cert,
      key,
      minVersion: 'TLSv1.2',
      handshakeTimeout: HANDSHAKE_MS,
      headersTimeout: this.#limits.headMs,
      // Each body has a limit of its own: content may take hours.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.min(5000, this.#limits.headMs),
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: 16 * 1024,
    });
    server.maxConnections = this.#limits.connections;
    server.on('request', (request, response) => this.#accept(request, response));
    server.on('tlsClientError', (error, socket) => {
      log.debug({ err: error }, 'A client of the pool server did not speak TLS.');
      socket.destroy();
    });
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.listen(port, host);
    // `once` rejects with the server's error, too.
    await once(server, 'listening').catch((error: unknown) => {
      throw inUse(error, host, port);
    });
    this.#server = server;
    server.on('error', (error) => log.error({ err: error }, 'The pool server has an error of its own.'));
    this.#fingerprint = fingerprint;
    this.#endpoint = endpointOf(server, host, this.#options.advertise);
    log.info({ endpoint: this.#endpoint, fingerprint }, 'The pool server listens.');
    // Others are served though this one cannot be made now; who asks for it tries again, and is told why.
    await this.#exports
      .get('default')
      .catch((error: unknown) => log.error({ err: error }, 'The exported pool cannot be opened.'));
  }

  async #stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    this.#endpoint = null;
    this.#stopping.abort(new TransientError('server_stopping', 'The pool server is stopping; it is tried again.'));
    if (server !== null) {
      const closed = once(server, 'close');
      server.close();
      await Promise.all(this.#underWay);
      // Those too that are still in their handshake.
      for (const socket of this.#sockets) socket.destroy();
      await closed;
    }
    await this.#shared.sessions.close();
    await this.#shared.readers.close();
    await this.#exports.close();
  }

  #accept(request: IncomingMessage, response: ServerResponse): void {
    const work = this.#serve(request, response).catch((error: unknown) => {
      this.#options.log.error({ err: error }, 'A request to the pool server could not be answered.');
      response.destroy();
    });
    this.#underWay.add(work);
    void work.finally(() => this.#underWay.delete(work));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    // Not after a good end: what was opened for the client may still hold the signal.
    response.on('close', () => {
      if (!response.writableFinished) gone.abort();
    });
    // A connection that breaks is told by `close`; the error itself says no more.
    request.on('error', () => gone.abort());
    response.on('error', () => gone.abort());
    cutStalled(response, this.#limits.stallMs);
    const signal = AbortSignal.any([gone.signal, this.#stopping.signal]);
    try {
      const url = URL.parse(request.url ?? '/', 'https://pool');
      if (url === null) throw new PermanentError('bad_request', 'The path of the request cannot be read.');
      const at = { request, response, query: url.searchParams, signal };
      await route(at, url.pathname, { shared: this.#shared, content: this.#options.content, login: this.#options.login });
    } catch (error) {
      this.#refuse(request, response, this.#stopping.signal.aborted ? this.#stopping.signal.reason : error, gone.signal);
    }
  }

  #refuse(request: IncomingMessage, response: ServerResponse, thrown: unknown, gone: AbortSignal): void {
    if (gone.aborted) {
      response.destroy();
      return;
    }
    const error: OpenServiceError = asOpenServiceError(thrown);
    if (error.code === 'internal') this.#options.log.error({ err: thrown }, 'A request to the pool server failed unexpectedly.');
    else this.#options.log.debug({ err: thrown, path: request.url?.split('?')[0] }, 'A request to the pool server was refused.');
    if (response.headersSent) {
      // In the middle of a batch: cut off, it cannot be taken for whole.
      response.destroy();
      return;
    }
    // What is left of the body is not worth reading.
    const headers: Record<string, string> = request.complete ? {} : { connection: 'close' };
    sendJson(response, { error: failureOf(error) }, statusOf(error), headers);
  }

  #makeShared(): Shared {
    const { workers, log } = this.#options;
    const limits = this.#limits;
    const onError = (error: unknown): void => log.warn({ err: error }, 'What a client had open could not be closed.');
    return {
      workers,
      access: this.#access,
      limits,
      pool: (name, signal) => (isId('pool', name) ? this.#options.pools(name, signal) : this.#exports.get(name)),
      resource: (name) => (isId('pool', name) ? name : `${this.#options.nodeId}/${name}`),
      readers: new IdleTable<OpenReader>({
        idleMs: limits.readerIdleMs,
        max: limits.readers,
        evict: true,
        close: ({ reader }) => reader.close(),
        onError,
      }),
      sessions: new IdleTable<OpenSession>({
        idleMs: limits.sessionIdleMs,
        max: limits.sessions,
        evict: false,
        close: ({ writer }) => writer.close(),
        onError,
      }),
      incoming: new ByteGate(INCOMING_BYTES),
      outgoing: new ByteGate(OUTGOING_BYTES),
      buffers: new ChunkBuffers(),
      turns: new Turns(),
    };
  }
}

function endpointOf(server: Server, host: string, advertise: string | undefined): string {
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const every = host === '0.0.0.0' || host === '::' || host === '';
  const name = advertise ?? (every ? hostname() : host);
  return `https://${isIPv6(name) ? `[${name}]` : name}:${port}`;
}

function inUse(error: unknown, host: string, port: number): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return error;
  return new PermanentError(
    'port_in_use',
    `Port ${port} of ${host} is in use; set OPENSERVICE_POOL_PORT to another for the pool server.`,
  );
}
