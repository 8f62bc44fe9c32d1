/**
 * Requests of one client, from the bytes as they come to the replies. Whatever can be answered at once is answered in the very turn in
 * which it was read, all in one write; the rest goes on in the background and is answered as it is done, in any order.
 *
 * Bounded: no request is begun while MAX_REQUESTS or MAX_BYTES of the client's are under way, or while it does not take its replies.
 */
import { OpenServiceError } from '@openservice/domain';
import type { BlockDevice } from '../device.ts';
import { REQUEST_BYTES, REQUEST_MAGIC } from '../wire.ts';
import type { NbdExport } from './exports.ts';
import type { Agreed } from './negotiation.ts';
import { CMD, CMD_FLAG, ERRNO, MAX_PAYLOAD } from './numbers.ts';
import type { Outbox } from './outbox.ts';
import { DATA_HEAD_BYTES, errorChunk, SIMPLE_BYTES, statusChunk, writeDataHead, writeSimple } from './replies.ts';

const MAX_REQUESTS = 256;
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_UNSENT = 8 * 1024 * 1024;
/** Reads up to this many bytes are tried at once. */
const HOT_BYTES = 128 * 1024;
const MAX_EXTENTS = 4096;
/** Descriptors are of 32 bits. */
const MAX_EXTENT = 0xffff_f000;

interface Request {
  type: number;
  flags: number;
  cookie: Buffer;
  offset: number;
  length: number;
}

export interface TransmissionEvents {
  /** The client said goodbye, or sent what is no request: hang up once all is answered. */
  over(): void;
  /** Takes bytes again after `feed` has answered false. */
  ready(): void;
  /** Nothing is under way any more. */
  idle(): void;
}

export class Transmission {
  readonly #export: NbdExport;
  readonly #device: BlockDevice;
  readonly #agreed: Agreed;
  readonly #outbox: Outbox;
  readonly #events: TransmissionEvents;
  /** What came and was not looked at yet. */
  #rest: Buffer = Buffer.alloc(0);
  #at = 0;
  /** A WRITE whose payload is coming; `payload` null: it is refused with `errno` once it is here. */
  #writing: { request: Request; payload: Buffer | null; got: number; errno: number } | null = null;
  #requests = 0;
  #bytes = 0;
  #waiting = false;
  #over = false;
  #stopping = false;

  constructor(agreed: Agreed, outbox: Outbox, events: TransmissionEvents) {
    this.#agreed = agreed;
    this.#export = agreed.export;
    this.#device = agreed.export.device;
    this.#outbox = outbox;
    this.#events = events;
  }

  /** Nothing of the client's is under way. */
  get idle(): boolean {
    return this.#requests === 0;
  }

  /** The client has begun a request, and its next bytes are awaited. */
  get inRequest(): boolean {
    return !this.#over && !this.#waiting && (this.#writing !== null || this.#rest.length > this.#at);
  }

  /** From now on every request is refused as "going down"; those under way end. */
  stop(): void {
    this.#stopping = true;
  }

  /** True when more may come; false when the client must wait: `ready` follows. */
  feed(bytes: Buffer): boolean {
    if (this.#over) return true;
    this.#rest = this.#at === this.#rest.length ? bytes : Buffer.concat([this.#rest.subarray(this.#at), bytes]);
    this.#at = 0;
    return this.#proceed();
  }

  /** Some replies have left. */
  drained(): void {
    this.#resume();
  }

  #proceed(): boolean {
    while (!this.#over) {
      if (this.#crowded) {
        this.#waiting = true;
        this.#outbox.flush();
        return false;
      }
      if (!(this.#writing === null ? this.#readRequest() : this.#readPayload())) break;
    }
    this.#outbox.flush();
    return true;
  }

  get #crowded(): boolean {
    return this.#requests >= MAX_REQUESTS || this.#bytes >= MAX_BYTES || this.#outbox.waiting >= MAX_UNSENT;
  }

  /** False when what came is used up. */
  #readRequest(): boolean {
    const bytes = this.#rest;
    const at = this.#at;
    if (bytes.length - at < REQUEST_BYTES) return false;
    if (bytes.readUInt32BE(at) !== REQUEST_MAGIC) {
      this.#end();
      return false;
    }
    const flags = bytes.readUInt16BE(at + 4);
    const type = bytes.readUInt16BE(at + 6);
    const cookie = bytes.subarray(at + 8, at + 16);
    const offset = bytes.readUInt32BE(at + 16) * 0x1_0000_0000 + bytes.readUInt32BE(at + 20);
    const length = bytes.readUInt32BE(at + 24);
    this.#at = at + REQUEST_BYTES;
    this.#export.counters.requests++;
    if (type === CMD.read && flags === 0 && length <= HOT_BYTES && this.#readAtOnce(cookie, offset, length)) return true;
    this.#begin({ type, flags, cookie: Buffer.from(cookie), offset, length });
    return true;
  }

  /** The hot path: no promise, no copy but the device's own. False, and nothing done, where it is not possible. */
  #readAtOnce(cookie: Buffer, offset: number, length: number): boolean {
    const end = offset + length;
    if (length === 0 || end > this.#device.size || this.#stopping) return false;
    const head = this.#agreed.structured ? DATA_HEAD_BYTES : SIMPLE_BYTES;
    const small = head + length <= 64 * 1024;
    const room = small ? this.#outbox.reserve(head + length) : Buffer.allocUnsafeSlow(head + length);
    let done = false;
    try {
      done = this.#device.readNow(offset, room.subarray(head));
    } finally {
      if (!done && small) this.#outbox.unreserve(head + length);
    }
    if (!done) return false;
    if (this.#agreed.structured) writeDataHead(room, cookie, offset, length);
    else writeSimple(room, cookie, 0);
    if (!small) this.#outbox.push(room);
    this.#export.counters.bytesRead += length;
    return true;
  }

  #begin(request: Request): void {
    const errno = this.#fault(request);
    if (request.type === CMD.write) {
      const payload = errno === 0 ? Buffer.allocUnsafeSlow(request.length) : null;
      this.#writing = { request, payload, got: 0, errno };
      this.#requests++;
      this.#bytes += payload?.length ?? 0;
      return;
    }
    if (request.type === CMD.disconnect) this.#end();
    else if (errno !== 0) this.#refuse(request, errno);
    else this.#run(request, request.type === CMD.read ? request.length : 0, () => this.#carryOut(request));
  }

  #readPayload(): boolean {
    const writing = this.#writing!;
    const { request, payload } = writing;
    const count = Math.min(request.length - writing.got, this.#rest.length - this.#at);
    if (payload !== null) this.#rest.copy(payload, writing.got, this.#at, this.#at + count);
    writing.got += count;
    this.#at += count;
    if (writing.got < request.length) return false;
    this.#writing = null;
    this.#requests--;
    this.#bytes -= payload?.length ?? 0;
    if (payload === null) {
      this.#refuse(request, writing.errno);
      return true;
    }
    this.#run(request, payload.length, async () => {
      await this.#device.write(request.offset, payload, (request.flags & CMD_FLAG.fua) !== 0);
      this.#export.counters.bytesWritten += payload.length;
      this.#simple(request);
    });
    return true;
  }

  /** 0, or why the request cannot be: out of range, unknown, not of this device. */
  #fault({ type, flags, offset, length }: Request): number {
    if (this.#stopping) return ERRNO.shutdown;
    const allowed = ALLOWED_FLAGS[type];
    if (allowed === undefined || (flags & ~allowed) !== 0) return ERRNO.inval;
    if ((flags & CMD_FLAG.df) !== 0 && !this.#agreed.structured) return ERRNO.inval;
    const writes = type === CMD.write || type === CMD.trim || type === CMD.writeZeroes;
    if (writes && this.#device.readOnly) return ERRNO.perm;
    if (type === CMD.flush) return offset === 0 && length === 0 ? 0 : ERRNO.inval;
    if (type === CMD.blockStatus && !this.#agreed.allocation) return ERRNO.inval;
    if (length === 0) return ERRNO.inval;
    if ((type === CMD.read || type === CMD.write) && length > MAX_PAYLOAD) return ERRNO.inval;
    if (offset + length > this.#device.size) return type === CMD.write || type === CMD.writeZeroes ? ERRNO.nospc : ERRNO.inval;
    return 0;
  }

  async #carryOut(request: Request): Promise<void> {
    const { type, flags, offset, length } = request;
    const fua = (flags & CMD_FLAG.fua) !== 0;
    switch (type) {
      case CMD.read:
        return this.#read(request);
      case CMD.flush:
        await this.#device.flush();
        break;
      case CMD.trim:
        await this.#device.zero(offset, length, { hole: true, fua });
        break;
      case CMD.writeZeroes:
        await this.#device.zero(offset, length, { hole: (flags & CMD_FLAG.noHole) === 0, fua });
        break;
      case CMD.cache:
        this.#device.prefetch(offset, length);
        break;
      case CMD.blockStatus:
        return this.#status(request);
    }
    this.#simple(request);
  }

  async #read(request: Request): Promise<void> {
    const { cookie, offset, length } = request;
    const head = this.#agreed.structured ? DATA_HEAD_BYTES : SIMPLE_BYTES;
    const room = Buffer.allocUnsafeSlow(head + length);
    await this.#device.read(offset, room.subarray(head));
    if (this.#agreed.structured) writeDataHead(room, cookie, offset, length);
    else writeSimple(room, cookie, 0);
    this.#export.counters.bytesRead += length;
    this.#outbox.push(room);
  }

  async #status(request: Request): Promise<void> {
    const { offset, length, flags, cookie } = request;
    const one = (flags & CMD_FLAG.reqOne) !== 0;
    const found = await this.#device.extents(offset, length, one ? 1 : MAX_EXTENTS);
    const extents = found.map((extent) => ({ ...extent, length: Math.min(extent.length, MAX_EXTENT) }));
    // What a cut leaves out is asked for again; only the last may be cut.
    const cut = found.findIndex((extent) => extent.length > MAX_EXTENT);
    this.#outbox.push(statusChunk(cookie, cut < 0 ? extents : extents.slice(0, cut + 1)));
  }

  #run(request: Request, bytes: number, work: () => Promise<void>): void {
    this.#requests++;
    this.#bytes += bytes;
    work()
      .catch((error: unknown) => this.#fail(request, errnoOf(error), (error as Error).message))
      .finally(() => {
        this.#requests--;
        this.#bytes -= bytes;
        this.#resume();
        if (this.#requests === 0) this.#events.idle();
      });
  }

  #resume(): void {
    if (!this.#waiting || this.#crowded) return;
    this.#waiting = false;
    if (this.#proceed()) this.#events.ready();
  }

  #simple({ cookie }: Request): void {
    writeSimple(this.#outbox.reserve(SIMPLE_BYTES), cookie, 0);
  }

  #refuse(request: Request, errno: number): void {
    this.#fail(request, errno, WORDS[errno] ?? 'The request is not valid.');
  }

  #fail({ cookie }: Request, errno: number, words: string): void {
    if (this.#agreed.structured) this.#outbox.push(errorChunk(cookie, errno, words));
    else writeSimple(this.#outbox.reserve(SIMPLE_BYTES), cookie, errno);
  }

  #end(): void {
    this.#over = true;
    this.#rest = Buffer.alloc(0);
    this.#at = 0;
    this.#events.over();
  }
}

const ALLOWED_FLAGS: Readonly<Record<number, number>> = {
  [CMD.read]: CMD_FLAG.fua | CMD_FLAG.df,
  [CMD.write]: CMD_FLAG.fua,
  [CMD.disconnect]: 0xffff,
  [CMD.flush]: CMD_FLAG.fua,
  [CMD.trim]: CMD_FLAG.fua,
  [CMD.cache]: CMD_FLAG.fua,
  [CMD.writeZeroes]: CMD_FLAG.fua | CMD_FLAG.noHole | CMD_FLAG.fastZero,
  [CMD.blockStatus]: CMD_FLAG.fua | CMD_FLAG.reqOne,
};

const WORDS: Readonly<Record<number, string>> = {
  [ERRNO.perm]: 'The disk is read-only.',
  [ERRNO.inval]: 'The request is not valid here, is too long, or goes past the end of the disk.',
  [ERRNO.nospc]: 'The request goes past the end of the disk.',
  [ERRNO.shutdown]: 'The server is going down.',
};

function errnoOf(error: unknown): number {
  if (!(error instanceof OpenServiceError)) return ERRNO.io;
  if (error.code === 'no_space') return ERRNO.nospc;
  if (error.code === 'read_only') return ERRNO.perm;
  return ERRNO.io;
}
