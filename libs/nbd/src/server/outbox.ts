/**
 * Replies on their way to a client. All that is ready in one turn of the event loop leaves in one write: that is what makes small reads
 * fast. Small replies lie one after the other in slabs, which are used again once the kernel has them.
 */
const SLAB_BYTES = 256 * 1024;
/** Larger replies bring their own buffer. */
export const SMALL = 64 * 1024;
/** So much is not held back until the turn ends: the client can work on it meanwhile. */
const BATCH_BYTES = 512 * 1024;
/** Slabs that nobody uses at the moment, for all connections: one that is silent holds none. */
const SPARE: Buffer[] = [];
const SPARE_KEPT = 16;

/** What an outbox needs of a socket. */
export interface Sink {
  readonly destroyed: boolean;
  readonly writableLength: number;
  write(bytes: Buffer, done?: (error?: Error | null) => void): unknown;
  cork(): void;
  uncork(): void;
}

export class Outbox {
  readonly #socket: Sink;
  /** Told when some of much has left. */
  readonly #onSent: () => void;
  #slab: Buffer | null = null;
  /** Bytes of the slab that are written already, and that are taken. */
  #from = 0;
  #to = 0;
  #parts: Buffer[] = [];
  #queued = 0;
  #full: Buffer[] = [];
  #told: (() => void)[] = [];
  #planned = false;

  constructor(socket: Sink, onSent: () => void) {
    this.#socket = socket;
    this.#onSent = onSent;
  }

  /** The connection is over: what is sent reaches nobody. */
  get gone(): boolean {
    return this.#socket.destroyed;
  }

  /** Bytes that the kernel has not taken yet. */
  get waiting(): number {
    return this.#socket.destroyed ? 0 : this.#socket.writableLength + this.#queued + this.#to - this.#from;
  }

  /** Enough has come together to be sent. */
  get ripe(): boolean {
    return this.#queued + this.#to - this.#from >= BATCH_BYTES;
  }

  /** The slab that the last `reserve` was in. */
  get slab(): Buffer {
    return this.#slab!;
  }

  /** Room in `slab` for a reply of `length` bytes, SMALL at most: where it begins. It leaves with the next flush: fill it before this turn ends. */
  reserve(length: number): number {
    if (this.#slab === null || this.#to + length > SLAB_BYTES) this.#nextSlab();
    const at = this.#to;
    this.#to += length;
    if (!this.#planned) this.#plan();
    return at;
  }

  /** Gives back the last reservation, of `length` bytes. */
  unreserve(length: number): void {
    this.#to -= length;
  }

  /** `bytes` must stay as they are until they are sent. `onSent` is told when they were; never, where the connection is cut before. */
  push(bytes: Buffer, onSent?: (bytes: Buffer) => void): void {
    this.#endRun();
    this.#parts.push(bytes);
    if (onSent !== undefined) this.#told.push(() => onSent(bytes));
    this.#queued += bytes.length;
    if (!this.#planned) this.#plan();
  }

  flush(): void {
    this.#endRun();
    if (this.#parts.length === 0) return;
    const parts = this.#parts;
    const full = this.#full;
    const told = this.#told;
    const large = this.#queued > SMALL;
    this.#parts = [];
    this.#full = [];
    this.#told = [];
    this.#queued = 0;
    if (this.#socket.destroyed) return;
    // A slab may be used again when the last write that holds bytes of it is done; a slab that is not full goes on being filled.
    const done =
      full.length === 0 && told.length === 0 && !large
        ? undefined
        : (error?: Error | null) => {
            giveBack(full);
            if (!error) for (const tell of told) tell();
            this.#onSent();
          };
    if (parts.length === 1) {
      this.#socket.write(parts[0]!, done);
      return;
    }
    this.#socket.cork();
    for (let i = 0; i < parts.length - 1; i++) this.#socket.write(parts[i]!);
    this.#socket.write(parts[parts.length - 1]!, done);
    this.#socket.uncork();
  }

  /** For a client that is silent: what is kept for its next replies is given to others. */
  relax(): void {
    if (this.#to === this.#from && this.#parts.length === 0 && this.#socket.writableLength === 0) {
      if (this.#slab !== null) giveBack([this.#slab]);
      this.#slab = null;
      this.#from = 0;
      this.#to = 0;
    }
  }

  #plan(): void {
    this.#planned = true;
    setImmediate(() => {
      this.#planned = false;
      this.flush();
    });
  }

  /** What was reserved since the last run becomes one part. */
  #endRun(): void {
    if (this.#slab === null || this.#to === this.#from) return;
    this.#parts.push(this.#slab.subarray(this.#from, this.#to));
    this.#queued += this.#to - this.#from;
    this.#from = this.#to;
  }

  #nextSlab(): void {
    this.#endRun();
    if (this.#slab !== null) this.#full.push(this.#slab);
    this.#slab = SPARE.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#from = 0;
    this.#to = 0;
  }
}

function giveBack(slabs: readonly Buffer[]): void {
  for (const slab of slabs) if (SPARE.length < SPARE_KEPT) SPARE.push(slab);
}
