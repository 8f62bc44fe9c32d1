/**
 * HTTPS to one pool server: connections that are kept, the server's certificate checked before a byte of a request goes out, time limits,
 * and every way in which a network fails as an error that names host and port.
 */
import { createHash } from 'node:crypto';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import { CancelledError, OpenServiceError, PermanentError, TransientError } from '@openservice/domain';

const CONNECT_MS = 10_000;
/** A server that works on a long call sends a space every ten seconds. */
const SILENCE_MS = 60_000;
const MAX_SOCKETS = 12;

export interface RemoteAddress {
  host: string;
  port: number;
  /** SHA-256 of the certificate (DER), hex; null: the system's authorities decide. */
  fingerprint: string | null;
}

export interface RemoteRequest {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: readonly Buffer[];
  /** ms without a byte either way. Default 60 s. */
  silenceMs?: number;
}

export class Connection {
  readonly #address: RemoteAddress;
  readonly #agent: Agent;

  constructor(address: RemoteAddress) {
    this.#address = address;
    this.#agent = new PinningAgent(address);
  }

  get name(): string {
    return `${this.#address.host}:${this.#address.port}`;
  }

  /** The answer once its head is there; read its body to the end, or destroy it. Errors of its stream go through `failure`. */
  send(what: RemoteRequest, signal: AbortSignal): Promise<IncomingMessage> {
    if (signal.aborted) return Promise.reject(stopped(signal));
    const { method, path, headers = {}, body = [], silenceMs = SILENCE_MS } = what;
    const length = body.reduce((sum, part) => sum + part.length, 0);
    return new Promise((resolve, reject) => {
      const { host, port } = this.#address;
      const request = httpsRequest({
        agent: this.#agent,
        host,
        port,
        method,
        path,
        headers: { ...headers, ...(method === 'GET' ? {} : { 'content-length': length }) },
      });
      // A request without a socket tells of its end only when its turn for one has come: nobody waits for that.
      const onAbort = (): void => {
        request.destroy(stopped(signal));
        reject(stopped(signal));
      };
      const forget = (): void => signal.removeEventListener('abort', onAbort);
      signal.addEventListener('abort', onAbort, { once: true });
      request.on('close', forget);
      request.on('error', (error) => {
        forget();
        // One that found no connection stays in the agent's queue, and would be sent though it was given up.
        request.destroy();
        reject(this.failure(error, signal));
      });
      request.on('response', resolve);
      limitSilence(request, silenceMs, () => this.#silent(silenceMs));
      for (const part of body) request.write(part);
      request.end();
    });
  }

  /** What `error` of a request or of an answer's stream is in our words. */
  failure(error: unknown, signal: AbortSignal): OpenServiceError {
    if (signal.aborted) return stopped(signal);
    if (error instanceof OpenServiceError) return error;
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (code === 'EPROTO' || code.startsWith('HPE_') || code.startsWith('ERR_SSL_')) {
      return new PermanentError('not_a_pool_server', `What listens at ${this.name} does not speak HTTPS; check host and port.`, {
        cause: error,
      });
    }
    if (UNTRUSTED.test(code)) {
      return new PermanentError(
        'tls_untrusted',
        `No authority of this system vouches for the certificate of ${this.name} (${code}); give the pool its tls_fingerprint.`,
        { cause: error },
      );
    }
    return new TransientError('unreachable', `The pool server ${this.name} cannot be reached: ${message || code}.`, {
      cause: error,
    });
  }

  close(): void {
    this.#agent.destroy();
  }

  #silent(ms: number): TransientError {
    return new TransientError('timed_out', `The pool server ${this.name} has not answered for ${ms / 1000} s.`);
  }
}

const UNTRUSTED =
  /^(?:ERR_TLS_CERT_ALTNAME_INVALID|CERT_.*|.*SELF_SIGNED.*|UNABLE_TO_.*|INVALID_CA|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH)$/;

/** The socket's own timer, which any byte either way restarts. Bytes that the reader has not taken are no silence of the server. */
function limitSilence(request: ClientRequest, ms: number, error: () => Error): void {
  let answer: IncomingMessage | null = null;
  request.on('response', (response) => {
    answer = response;
  });
  request.on('socket', (socket) => {
    const onTimeout = (): void => {
      if (answer !== null && answer.readableLength > 0) socket.setTimeout(ms);
      else (answer ?? request).destroy(error());
    };
    socket.setTimeout(ms);
    socket.on('timeout', onTimeout);
    request.on('close', () => {
      socket.off('timeout', onTimeout);
      socket.setTimeout(0);
    });
  });
}

function stopped(signal: AbortSignal): CancelledError {
  return new CancelledError('The work was stopped.', { cause: signal.reason });
}

/** Hands a socket out only after the certificate was found to be the pinned one: so no token reaches anybody else. */
class PinningAgent extends Agent {
  readonly #address: RemoteAddress;

  readonly #connecting = new Set<Duplex>();

  constructor(address: RemoteAddress) {
    super({ keepAlive: true, keepAliveMsecs: 15_000, maxSockets: MAX_SOCKETS, scheduling: 'lifo' });
    this.#address = address;
  }

  override createConnection(_options: unknown, done?: (error: Error | null, socket: Duplex) => void): undefined {
    const { host, port, fingerprint } = this.#address;
    const socket = tlsConnect({
      host,
      port,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      rejectUnauthorized: fingerprint === null,
      ALPNProtocols: ['http/1.1'],
    });
    this.#connecting.add(socket);
    const fail = (error: Error): void => {
      socket.destroy();
      done?.(error, socket);
      done = undefined;
    };
    const limit = setTimeout(() => {
      fail(
        new TransientError(
          'unreachable',
          `The pool server ${host}:${port} does not answer (no connection within ${CONNECT_MS / 1000} s).`,
        ),
      );
    }, CONNECT_MS);
    socket.on('error', fail);
    socket.once('close', () => {
      clearTimeout(limit);
      this.#connecting.delete(socket);
      fail(new TransientError('unreachable', `The pool server ${host}:${port} closed the connection.`));
    });
    socket.once('secureConnect', () => {
      clearTimeout(limit);
      this.#connecting.delete(socket);
      const certificate = socket.getPeerX509Certificate();
      const found = certificate === undefined ? 'none' : createHash('sha256').update(certificate.raw).digest('hex');
      if (fingerprint !== null && found !== fingerprint.toLowerCase().replaceAll(':', '')) {
        fail(
          new PermanentError(
            'tls_fingerprint_mismatch',
            `The certificate of ${host}:${port} has the fingerprint ${found}, not ${fingerprint}: it was made anew, or somebody stands between. Nothing was sent.`,
          ),
        );
        return;
      }
      socket.off('error', fail);
      socket.setKeepAlive(true, 15_000);
      done?.(null, socket);
      done = undefined;
    });
  }

  /** The agent knows of a socket only once it is connected. */
  override destroy(): void {
    for (const socket of this.#connecting) socket.destroy();
    super.destroy();
  }
}
