/** Requests and their answers over one socket: many at once, in any order; the first fault of the connection ends them all. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { asOpenServiceError, CancelledError, type OpenServiceError, TransientError } from '@openservice/domain';
import type { ByteStream } from './byte-stream.ts';
import { protocolError, stopped } from './errors.ts';
import { Gate } from './gate.ts';
import type { Agreement, Talk } from './handshake.ts';
import { Request } from './request.ts';
import {
  COMMAND,
  type Command,
  encodeRequest,
  isErrorReply,
  REPLY,
  REPLY_DONE,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from './wire.ts';

/** Bytes of an error's words or of the ranges in one answer; more is no NBD server. */
const MAX_SMALL = 8 * 1024 * 1024;
/** ms given to a server to hang up after the goodbye. */
const GOODBYE = 1000;

export interface Ask {
  type: Command;
  offset: number;
  length: number;
  target?: Buffer;
  payload?: Buffer;
}

export class Connection {
  readonly server: string;
  readonly #socket: Socket;
  readonly #stream: ByteStream;
  readonly #agreement: Agreement;
  readonly #gate: Gate;
  readonly #pending = new Map<bigint, Request>();
  readonly #timer: NodeJS.Timeout;
  #cookie = 0n;
  #failure: OpenServiceError | null = null;
  #closing: Promise<void> | null = null;

  constructor(talk: Talk, agreement: Agreement, options: { depth: number; answerLimit: number }) {
    this.server = talk.server;
    this.#socket = talk.socket;
    this.#stream = talk.stream;
    this.#agreement = agreement;
    this.#gate = new Gate(options.depth);
    this.#timer = this.#watch(options.answerLimit);
    void this.#receive().catch((error: unknown) => this.#fail(asOpenServiceError(error)));
  }

  /** Resolves with the answered request. An abort leaves a read to end unseen; a write that is under way ends the connection. */
  async ask(ask: Ask, signal: AbortSignal): Promise<Request> {
    await this.#gate.enter(signal).catch(() => {
      throw stopped(this.server, signal);
    });
    try {
      if (this.#failure !== null) throw this.#failure;
      if (signal.aborted) throw stopped(this.server, signal);
      const request = new Request(ask.type, ask.offset, ask.length, ask.target ?? null);
      const cookie = this.#cookie++;
      this.#pending.set(cookie, request);
      const onAbort = () => {
        const error = stopped(this.server, signal);
        // The socket may still read from the caller's bytes.
        if (ask.payload === undefined) request.abandon(error);
        else this.#fail(error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        this.#send(encodeRequest(ask.type, cookie, ask.offset, ask.length), ask.payload);
        await request.done;
        return request;
      } finally {
        signal.removeEventListener('abort', onAbort);
      }
    } finally {
      this.#gate.leave();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #send(head: Buffer, payload: Buffer | undefined): void {
    if (payload === undefined) {
      this.#socket.write(head);
      return;
    }
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(payload);
    this.#socket.uncork();
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#failure === null && !this.#socket.destroyed) {
      const closed = once(this.#socket, 'close', { signal: AbortSignal.timeout(GOODBYE) });
      this.#socket.end(encodeRequest(COMMAND.disconnect, this.#cookie++, 0, 0));
      // Nothing depends on a server's manners.
      await closed.catch(() => {});
    }
    this.#fail(new CancelledError('The NBD connection was closed.'));
  }

  async #receive(): Promise<void> {
    for (;;) {
      const head = await this.#stream.exactly(16);
      const request = this.#pending.get(head.readBigUInt64BE(8));
      if (request === undefined) throw protocolError(this.server, 'it answers what was not asked');
      const magic = head.readUInt32BE(0);
      let done = true;
      if (magic === SIMPLE_REPLY_MAGIC) await this.#simple(request, head.readUInt32BE(4));
      else if (magic === STRUCTURED_REPLY_MAGIC && this.#agreement.structured) {
        done = (head.readUInt16BE(4) & REPLY_DONE) !== 0;
        await this.#structured(request, head.readUInt16BE(6), (await this.#stream.exactly(4)).readUInt32BE(0));
      } else throw protocolError(this.server, 'an answer begins with neither magic number');
      if (!done) continue;
      this.#pending.delete(head.readBigUInt64BE(8));
      if (!request.end(this.server)) throw protocolError(this.server, 'it left out bytes that were to be read');
    }
  }

  async #simple(request: Request, errno: number): Promise<void> {
    if (errno !== 0) request.failed(errno, '');
    else if (request.type === COMMAND.read) await this.#data(request, request.offset, request.length);
  }

  async #structured(request: Request, type: number, length: number): Promise<void> {
    if (type === REPLY.data && length > 8) {
      await this.#data(request, Number((await this.#stream.exactly(8)).readBigUInt64BE(0)), length - 8);
      return;
    }
    if (length > MAX_SMALL) throw protocolError(this.server, 'an answer is too long');
    const body = await this.#stream.exactly(length);
    if (type === REPLY.none && length === 0) return;
    if (type === REPLY.hole && length === 12) {
      const inside = request.zero(Number(body.readBigUInt64BE(0)), body.readUInt32BE(8));
      if (!inside) throw protocolError(this.server, 'it answers with a hole outside of what was asked for');
    } else if (type === REPLY.blockStatus && length >= 12 && (length - 4) % 8 === 0) {
      if (body.readUInt32BE(0) !== this.#agreement.allocationId) return;
      for (let at = 4; at < length; at += 8) this.#tell(request, body.readUInt32BE(at), body.readUInt32BE(at + 4));
    } else if (isErrorReply(type) && length >= 6) {
      const words = body.toString('utf8', 6, Math.min(length, 6 + body.readUInt16BE(4)));
      request.failed(body.readUInt32BE(0), words.replaceAll(/[^\x20-\x7e]/g, ' ').slice(0, 200));
    } else throw protocolError(this.server, `an answer of type ${type} and ${length} bytes`);
  }

  #tell(request: Request, length: number, flags: number): void {
    if (!request.tell(length, flags)) throw protocolError(this.server, 'it tells of holes without end');
  }

  async #data(request: Request, from: number, length: number): Promise<void> {
    if (!request.covers(from, length)) throw protocolError(this.server, 'it answers with bytes outside of what was asked for');
    for (let at = from; at < from + length; ) {
      const piece = await this.#stream.some(from + length - at);
      if (!request.fill(at, piece)) throw protocolError(this.server, 'it answers with the same bytes twice');
      at += piece.length;
    }
  }

  #fail(error: OpenServiceError): void {
    this.#failure ??= error;
    clearInterval(this.#timer);
    this.#socket.destroy();
    for (const request of this.#pending.values()) request.lost(this.#failure);
    this.#pending.clear();
  }

  /** Time in which this process did not run does not count: a look that comes late counts as two at most. */
  #watch(limit: number): NodeJS.Timeout {
    const every = Math.max(1, Math.min(limit / 8, 5000));
    let lookedAt = performance.now();
    let quiet = 0;
    let seen = -1;
    return setInterval(() => {
      const since = performance.now() - lookedAt;
      lookedAt += since;
      quiet = this.#pending.size === 0 || this.#stream.received !== seen ? 0 : quiet + Math.min(since, 2 * every);
      seen = this.#stream.received;
      if (quiet >= limit) {
        this.#fail(new TransientError('nbd_timeout', `${this.server} did not answer for ${Math.round(limit / 1000)} s.`));
      }
    }, every);
  }
}
