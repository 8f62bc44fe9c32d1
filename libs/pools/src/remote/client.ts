/** Calls of a pool server: paths, tokens, answers as JSON or bytes, failures as our errors. */
import type { IncomingMessage } from 'node:http';
import { type OpenServiceError, PermanentError, type RemotePoolSpec } from '@openservice/domain';
import type { PoolRight } from '@openservice/protocol';
import { throwIfCancelled } from '../cancel.ts';
import type { PoolEnvironment } from '../environment.ts';
import { again } from './again.ts';
import { Connection } from './connection.ts';
import { failureFromWire } from './failure.ts';
import { type TokenSource, tokenSource } from './tokens.ts';
import { MAX_BODY_BYTES } from './wire.ts';

export interface RemoteCall {
  method: 'GET' | 'POST' | 'DELETE';
  /** Below the pool: `/probe`, `/blocks/{block}/open`. */
  path: string;
  /** What the token must name: null is the pool as a whole. */
  block: string | null;
  right: PoolRight;
  /** Sent as JSON. */
  json?: unknown;
  body?: readonly Buffer[];
  /** A second token, to read this block. */
  from?: string;
}

export class RemoteClient {
  readonly #connection: Connection;
  readonly #tokens: TokenSource;
  readonly #base: string;

  constructor(spec: RemotePoolSpec, env: PoolEnvironment) {
    this.#connection = new Connection({ host: spec.host, port: spec.port, fingerprint: spec.tls_fingerprint });
    this.#base = `/v1/pools/${encodeURIComponent(spec.remote_pool)}`;
    this.#tokens = tokenSource(spec, env, {
      resource: async (signal) => stringOf(await this.#plain('GET', this.#base, undefined, signal), 'resource'),
      login: async (request, signal) => {
        const answer = await this.#plain('POST', '/v1/login', request, signal);
        return { token: stringOf(answer, 'token'), expires_in_ms: Number((answer as { expires_in_ms?: unknown }).expires_in_ms) };
      },
    });
  }

  /** `host:port`. */
  get name(): string {
    return this.#connection.name;
  }

  /** The JSON answer. Tried again after failures of the network. */
  json(call: RemoteCall, signal: AbortSignal, tries?: number): Promise<unknown> {
    return again(async () => this.#parsed(await this.open(call, signal), signal), signal, tries);
  }

  bytes(call: RemoteCall, signal: AbortSignal): Promise<Buffer> {
    return again(async () => this.#whole(await this.open(call, signal), signal), signal);
  }

  /** One try: a good answer with its body still to come; read it with `stream`. A token that the server refuses is asked for once again. */
  async open(call: RemoteCall, signal: AbortSignal): Promise<IncomingMessage> {
    for (let first = true; ; first = false) {
      throwIfCancelled(signal);
      const token = await this.#tokens.get(call.block, call.right, signal);
      const headers: Record<string, string> = { authorization: `Bearer ${token}` };
      const from = call.from === undefined ? null : await this.#tokens.get(call.from, 'read', signal);
      if (from !== null) headers['source-authorization'] = `Bearer ${from}`;
      const response = await this.#send(call.method, `${this.#base}${call.path}`, headers, call, signal);
      if (response.statusCode === 200) return response;
      const error = await this.#refusal(response, signal);
      if (response.statusCode !== 401 || !first) throw error;
      this.#tokens.drop(token);
      if (from !== null) this.#tokens.drop(from);
    }
  }

  /** The body as it comes; an answer that breaks off is TransientError `unreachable`. */
  async *stream(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer> {
    const onAbort = (): void => void response.destroy(new Error('stopped'));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      throwIfCancelled(signal);
      for await (const part of response) yield part as Buffer;
      throwIfCancelled(signal);
    } catch (error) {
      throw this.#connection.failure(error, signal);
    } finally {
      signal.removeEventListener('abort', onAbort);
      // Left early: the connection is of no use any more.
      if (!response.complete) response.destroy();
    }
  }

  /** Answers of one JSON value a line. A last line `{"error": …}` is thrown; one that lacks its `{"end": true}` was cut off. */
  async *lines(call: RemoteCall, signal: AbortSignal): AsyncGenerator<Record<string, unknown>> {
    const response = await this.open(call, signal);
    let rest = '';
    for await (const part of this.stream(response, signal)) {
      const pieces = (rest + part.toString('latin1')).split('\n');
      rest = pieces.pop() ?? '';
      if (rest.length > MAX_BODY_BYTES) throw notOurs(this.name);
      for (const piece of pieces) {
        if (piece.trim() === '') continue;
        const line = parse(Buffer.from(piece, 'latin1'), this.name) as Record<string, unknown>;
        if (line.error !== undefined) throw failureFromWire(line.error);
        if (line.end === true) return;
        yield line;
      }
    }
    throw this.#connection.failure(new Error('its answer broke off'), signal);
  }

  close(): void {
    this.#connection.close();
  }

  async #plain(method: 'GET' | 'POST', path: string, json: unknown, signal: AbortSignal): Promise<unknown> {
    return await again(async () => {
      const response = await this.#send(method, path, {}, json === undefined ? {} : { json }, signal);
      if (response.statusCode !== 200) throw await this.#refusal(response, signal);
      return this.#parsed(response, signal);
    }, signal);
  }

  #send(
    method: string,
    path: string,
    headers: Record<string, string>,
    { json, body }: Pick<RemoteCall, 'json' | 'body'>,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const parts = json === undefined ? (body ?? []) : [Buffer.from(JSON.stringify(json))];
    const type = json === undefined ? 'application/octet-stream' : 'application/json';
    const all = parts.length > 0 ? { ...headers, 'content-type': type } : headers;
    return this.#connection.send({ method, path, headers: all, body: parts }, signal);
  }

  /** A long call is answered with 200 before its outcome is known: so a failure may stand in the body. */
  async #parsed(response: IncomingMessage, signal: AbortSignal): Promise<unknown> {
    const value = parse(await this.#whole(response, signal), this.name) as { error?: unknown } | null;
    if (value?.error !== undefined) throw failureFromWire(value.error);
    return value;
  }

  async #refusal(response: IncomingMessage, signal: AbortSignal): Promise<OpenServiceError> {
    const bytes = await this.#whole(response, signal);
    try {
      return failureFromWire((JSON.parse(bytes.toString('utf8')) as { error?: unknown }).error);
    } catch {
      return notOurs(this.name);
    }
  }

  async #whole(response: IncomingMessage, signal: AbortSignal): Promise<Buffer> {
    const parts: Buffer[] = [];
    let length = 0;
    for await (const part of this.stream(response, signal)) {
      length += part.length;
      if (length > MAX_BODY_BYTES) throw notOurs(this.name);
      parts.push(part);
    }
    return Buffer.concat(parts);
  }
}

function parse(bytes: Buffer, name: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw notOurs(name);
  }
}

function stringOf(answer: unknown, field: string): string {
  const value = (answer as Record<string, unknown> | null)?.[field];
  if (typeof value !== 'string') throw new PermanentError('not_a_pool_server', `The other side did not tell its ${field}.`);
  return value;
}

function notOurs(name: string): PermanentError {
  return new PermanentError(
    'not_a_pool_server',
    `What listens at ${name} does not answer as a pool server does; check host and port.`,
  );
}
