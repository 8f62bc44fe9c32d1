/**
 * Requests of one client, from the bytes as they come to the replies. Whatever can be done at once is answered in the very turn in which
 * it was read, all in one write; the rest goes on in the background and is answered as it is done, in any order.
 *
 * Bounded: no request is begun while MAX_REQUESTS or MAX_BYTES of the client's are under way, while it does not take its replies, or while
 * the clients of its disk hold what they may hold together.
 */
import type { BlockDevice } from '../device.ts';
import { giveBackRoom, sharedRoom } from '../read-rooms.ts';
import { REQUEST_BYTES, REQUEST_MAGIC } from '../wire.ts';
import { type Budget, SHARE } from './budget.ts';
import type { NbdCounters } from './exports.ts';
import type { Agreed } from './negotiation.ts';
import { CMD, CMD_FLAG, ERRNO, MAX_PAYLOAD } from './numbers.ts';
import { type Outbox, SMALL } from './outbox.ts';
import { DATA_HEAD_BYTES, errorChunk, SIMPLE_BYTES, statusChunk, writeDataHead, writeSimple } from './replies.ts';
import { decodeRequest, errnoOf, faultOf, type Request, wordsOf } from './request.ts';

const MAX_REQUESTS = 256;
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_UNSENT = 8 * 1024 * 1024;
/** Reads and writes up to this many bytes are tried at once. */
const HOT_BYTES = 128 * 1024;
const MAX_EXTENTS = 4096;
/** Descriptors are of 32 bits. */
const MAX_EXTENT = 0xffff_f000;
const NOTHING = Buffer.alloc(0);

export interface TransmissionEvents {
  /** The client said goodbye, or sent what is no request: hang up once all is answered. */
  over(): void;
  /** Takes bytes again after `feed` has answered false. */
  ready(): void;
  /** Nothing is under way any more. */
  idle(): void;
}

/** A WRITE whose payload is coming; `payload` null: it is refused with `errno` once it is here. */
interface Incoming {
  request: Request;
  payload: Buffer | null;
  got: number;
  errno: number;
}

export class Transmission {
  readonly #device: BlockDevice;
  readonly #counters: NbdCounters;
  readonly #agreed: Agreed;
  readonly #outbox: Outbox;
  readonly #budget: Budget;
  readonly #events: TransmissionEvents;
  readonly #readHead: number;
  readonly #wake = (): void => this.#resume();
  /** What came and was not looked at yet. */
  #rest: Buffer = NOTHING;
  #at = 0;
  #writing: Incoming | null = null;
  #requests = 0;
  /** Of payloads that come, and of reads and writes under way. */
  #bytes = 0;
  #charged = 0;
  #waiting = false;
  #over = false;
  #stopping = false;

  constructor(agreed: Agreed, outbox: Outbox, budget: Budget, events: TransmissionEvents) {
    this.#agreed = agreed;
    this.#device = agreed.export.device;
    this.#counters = agreed.export.counters;
    this.#outbox = outbox;
    this.#budget = budget;
    this.#events = events;
    this.#readHead = agreed.structured ? DATA_HEAD_BYTES : SIMPLE_BYTES;
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

  /** The client is gone: what is under way ends for nobody. */
  close(): void {
    this.#over = true;
    this.#budget.leave(this.#wake);
    this.#dropIncoming();
    this.#settle();
  }

  /** True when more may come; false when the client must wait: `ready` follows. */
  feed(bytes: Buffer): boolean {
    if (this.#over) return true;
    this.#rest = this.#at === this.#rest.length ? bytes : Buffer.concat([this.#rest.subarray(this.#at), bytes]);
    this.#at = 0;
    return this.#waiting ? false : this.#proceed();
  }

  /** Some replies have left. */
  sent(): void {
    this.#settle();
    this.#resume();
  }

  #proceed(): boolean {
    let more = true;
    while (more && !this.#over) {
      if (this.#writing === null && !this.#mayBegin()) {
        this.#waiting = true;
        break;
      }
      more = this.#writing === null ? this.#readRequest() : this.#readPayload();
      if (this.#outbox.ripe) this.#outbox.flush();
    }
    // The buffer that came is held by what is left of it: a few bytes must not keep 64 KiB.
    if (!this.#waiting) this.#rest = this.#at === this.#rest.length ? NOTHING : Buffer.from(this.#rest.subarray(this.#at));
    if (!this.#waiting) this.#at = 0;
    this.#outbox.flush();
    this.#settle();
    return !this.#waiting;
  }

  /** Whether there is room for the request that comes next. */
  #mayBegin(): boolean {
    const unsent = this.#outbox.waiting;
    if (this.#requests >= MAX_REQUESTS || this.#bytes >= MAX_BYTES || unsent >= MAX_UNSENT) return false;
    const cost = this.#nextCost();
    if (this.#bytes + unsent + cost <= SHARE) return true;
    // What others gave back since is told by `charge` alone, so what is our own must be told first.
    this.#settle();
    if (this.#budget.hasRoom(cost)) return true;
    this.#budget.wait(this.#wake);
    return false;
  }

  /** Bytes that the next request will hold, as far as it is known. */
  #nextCost(): number {
    if (this.#rest.length - this.#at < REQUEST_BYTES) return 0;
    const type = this.#rest.readUInt16BE(this.#at + 6);
    const length = this.#rest.readUInt32BE(this.#at + 24);
    return (type === CMD.read || type === CMD.write) && length <= MAX_PAYLOAD ? length : 0;
  }

  /** Tells the budget what this client holds beyond its share. */
  #settle(): void {
    const due = Math.max(0, this.#bytes + this.#outbox.waiting - SHARE);
    if (due === this.#charged) return;
    const change = due - this.#charged;
    this.#charged = due;
    this.#budget.charge(change);
  }

  /** False when what came is used up. */
  #readRequest(): boolean {
    const bytes = this.#rest;
    if (bytes.length - this.#at < REQUEST_BYTES) return false;
    if (bytes.readUInt32BE(this.#at) !== REQUEST_MAGIC) {
      this.#end();
      return false;
    }
    const request = decodeRequest(bytes, this.#at);
    this.#at += REQUEST_BYTES;
    this.#counters.requests++;
    if (request.type === CMD.disconnect) {
      this.#end();
      return false;
    }
    const errno = this.#stopping ? ERRNO.shutdown : faultOf(request, this.#device, this.#agreed);
    if (request.type === CMD.write) this.#expectPayload(request, errno);
    else if (errno !== 0) this.#fail(request, errno, wordsOf(errno));
    else if (request.type !== CMD.read) this.#run(request, 0, () => this.#carryOut(request));
    else if (!this.#readAtOnce(request)) this.#run(request, request.length, () => this.#read(request));
    return true;
  }

  /** The hot path: no promise, no copy but the device's own. False, and nothing done, where it is not possible. */
  #readAtOnce(request: Request): boolean {
    const { offset, length } = request;
    if (length > HOT_BYTES) return false;
    const whole = this.#readHead + length;
    const small = whole <= SMALL;
    const at = small ? this.#outbox.reserve(whole) : 0;
    const room = small ? this.#outbox.slab : Buffer.allocUnsafeSlow(whole);
    if (!tried(() => this.#device.readNow(offset, room.subarray(at + this.#readHead, at + whole)))) {
      if (small) this.#outbox.unreserve(whole);
      return false;
    }
    this.#writeReadHead(room, at, request);
    if (!small) this.#outbox.push(room);
    this.#counters.bytesRead += length;
    return true;
  }

  #expectPayload(request: Request, errno: number): void {
    const { length } = request;
    const end = this.#at + length;
    if (errno === 0 && end <= this.#rest.length) {
      // All of it is here: it is taken from where it lies.
      const payload = this.#rest.subarray(this.#at, end);
      this.#at = end;
      this.#write(request, payload);
      return;
    }
    const payload = errno === 0 ? Buffer.allocUnsafeSlow(length) : null;
    this.#bytes += payload?.length ?? 0;
    this.#writing = { request, payload, got: 0, errno };
  }

  #readPayload(): boolean {
    const writing = this.#writing!;
    const { request, payload } = writing;
    const count = Math.min(request.length - writing.got, this.#rest.length - this.#at);
    if (payload !== null) this.#rest.copy(payload, writing.got, this.#at, this.#at + count);
    writing.got += count;
    this.#at += count;
    if (writing.got < request.length) return false;
    this.#dropIncoming();
    if (payload === null) this.#fail(request, writing.errno, wordsOf(writing.errno));
    else this.#write(request, payload);
    return true;
  }

  #dropIncoming(): void {
    this.#bytes -= this.#writing?.payload?.length ?? 0;
    this.#writing = null;
  }

  #write(request: Request, payload: Buffer): void {
    const { offset, length, flags } = request;
    const fua = (flags & CMD_FLAG.fua) !== 0;
    if (!fua && length <= HOT_BYTES && tried(() => this.#device.writeNow?.(offset, payload) === true)) {
      this.#counters.bytesWritten += length;
      this.#done(request);
      return;
    }
    // A few bytes must not keep all that came with them.
    const own = payload.buffer.byteLength > 2 * length ? Buffer.from(payload) : payload;
    this.#run(request, length, async () => {
      await this.#device.write(offset, own, fua);
      this.#counters.bytesWritten += length;
      this.#done(request);
    });
  }

  async #carryOut(request: Request): Promise<void> {
    const { type, flags, offset, length } = request;
    const fua = (flags & CMD_FLAG.fua) !== 0;
    switch (type) {
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
    this.#done(request);
  }

  async #read(request: Request): Promise<void> {
    const { offset, length } = request;
    const room = sharedRoom(this.#readHead + length);
    await this.#device.read(offset, room.subarray(this.#readHead));
    this.#writeReadHead(room, 0, request);
    this.#counters.bytesRead += length;
    this.#outbox.push(room, giveBackRoom);
  }

  async #status(request: Request): Promise<void> {
    const { offset, length, flags } = request;
    const one = (flags & CMD_FLAG.reqOne) !== 0;
    const found = await this.#device.extents(offset, length, one ? 1 : MAX_EXTENTS);
    const extents = found.map((extent) => ({ ...extent, length: Math.min(extent.length, MAX_EXTENT) }));
    // What a cut leaves out is asked for again; only the last may be cut.
    const cut = found.findIndex((extent) => extent.length > MAX_EXTENT);
    this.#outbox.push(statusChunk(request, cut < 0 ? extents : extents.slice(0, cut + 1)));
  }

  #run(request: Request, bytes: number, work: () => Promise<void>): void {
    this.#requests++;
    this.#bytes += bytes;
    work()
      .catch((error: unknown) => this.#fail(request, errnoOf(error), (error as Error).message))
      .finally(() => {
        this.#requests--;
        this.#bytes -= bytes;
        if (this.#charged > 0) this.#settle();
        this.#resume();
        if (this.#requests === 0) this.#events.idle();
      });
  }

  #resume(): void {
    // A connection that was cut has room again, and nobody to read for.
    if (!this.#waiting || this.#over || this.#outbox.gone) return;
    this.#waiting = false;
    if (this.#proceed()) this.#events.ready();
  }

  #writeReadHead(into: Buffer, at: number, request: Request): void {
    if (this.#agreed.structured) writeDataHead(into, at, request, request.offset, request.length);
    else writeSimple(into, at, request, 0);
  }

  #done(request: Request): void {
    const at = this.#outbox.reserve(SIMPLE_BYTES);
    writeSimple(this.#outbox.slab, at, request, 0);
  }

  #fail(request: Request, errno: number, words: string): void {
    if (this.#agreed.structured) {
      this.#outbox.push(errorChunk(request, errno, words));
      return;
    }
    const at = this.#outbox.reserve(SIMPLE_BYTES);
    writeSimple(this.#outbox.slab, at, request, errno);
  }

  #end(): void {
    this.#over = true;
    this.#rest = NOTHING;
    this.#at = 0;
    this.#events.over();
  }
}

/** A device that cannot do it at once goes the long way, where its error is told. */
function tried(work: () => boolean): boolean {
  try {
    return work();
  } catch {
    return false;
  }
}
