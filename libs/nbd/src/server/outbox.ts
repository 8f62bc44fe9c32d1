/**
 * Replies on their way to a client. All that is ready in one turn of the event loop leaves in one write: that is what makes small reads
 * fast. Small replies lie one after the other in slabs, which are used again once the kernel has them.
 */
import type { Socket } from 'node:net';

const SLAB_BYTES = 256 * 1024;
const SLABS_KEPT = 4;
/** Larger replies bring their own buffer. */
const SMALL = 64 * 1024;

export class Outbox {
  readonly #socket: Socket;
  readonly #spare: Buffer[] = [];
  #slab: Buffer | null = null;
  /** Bytes of the slab that are written already, and that are taken. */
  #from = 0;
  #to = 0;
  #parts: Buffer[] = [];
  #full: Buffer[] = [];
  #planned = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Bytes that the kernel has not taken yet. */
  get waiting(): number {
    return this.#socket.writableLength;
  }

  /** Room for a reply of `length` bytes, which leaves with the next flush: fill it before this turn ends. */
  reserve(length: number): Buffer {
    if (length > SMALL) {
      const own = Buffer.allocUnsafeSlow(length);
      this.push(own);
      return own;
    }
    if (this.#slab === null || this.#to + length > SLAB_BYTES) this.#nextSlab();
    const room = this.#slab!.subarray(this.#to, this.#to + length);
    this.#to += length;
    this.#plan();
    return room;
  }

  /** Gives back the last reservation, of `length` bytes and not more than SMALL. */
  unreserve(length: number): void {
    this.#to -= length;
  }

  /** `bytes` must stay as they are until they are sent. */
  push(bytes: Buffer): void {
    this.#endRun();
    this.#parts.push(bytes);
    this.#plan();
  }

  flush(): void {
    this.#planned = false;
    this.#endRun();
    if (this.#parts.length === 0) return;
    const parts = this.#parts;
    const full = this.#full;
    this.#parts = [];
    this.#full = [];
    if (this.#socket.destroyed) return;
    // A slab may be used again when the last write that holds bytes of it is done; a slab that is not full goes on being filled.
    const done = full.length === 0 ? undefined : () => this.#giveBack(full);
    if (parts.length === 1) {
      this.#socket.write(parts[0]!, done);
      return;
    }
    this.#socket.cork();
    for (let i = 0; i < parts.length - 1; i++) this.#socket.write(parts[i]!);
    this.#socket.write(parts[parts.length - 1]!, done);
    this.#socket.uncork();
  }

  #plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    setImmediate(() => this.flush());
  }

  /** What was reserved since the last run becomes one part. */
  #endRun(): void {
    if (this.#slab === null || this.#to === this.#from) return;
    this.#parts.push(this.#slab.subarray(this.#from, this.#to));
    this.#from = this.#to;
  }

  #nextSlab(): void {
    this.#endRun();
    if (this.#slab !== null) this.#full.push(this.#slab);
    this.#slab = this.#spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#from = 0;
    this.#to = 0;
  }

  #giveBack(slabs: readonly Buffer[]): void {
    for (const slab of slabs) if (this.#spare.length < SLABS_KEPT) this.#spare.push(slab);
  }
}
