/** A bit a chunk: 8 MiB for the largest block there may be. */
export class Bitmap {
  readonly #bytes: Uint8Array;
  readonly size: number;

  constructor(size: number) {
    this.size = size;
    this.#bytes = new Uint8Array(Math.ceil(size / 8));
  }

  has(index: number): boolean {
    return ((this.#bytes[index >>> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  set(index: number): void {
    this.#bytes[index >>> 3]! |= 1 << (index & 7);
  }

  setRange(first: number, count: number): void {
    const end = Math.min(first + count, this.size);
    let at = first;
    while (at < end && (at & 7) !== 0) this.set(at++);
    const whole = end - (end & 7);
    if (at < whole) {
      this.#bytes.fill(0xff, at >>> 3, whole >>> 3);
      at = whole;
    }
    while (at < end) this.set(at++);
  }

  /** True when all of `first` … `first + count - 1` are set. */
  full(first: number, count: number): boolean {
    return this.firstClear(first, first + count) === null;
  }

  /** The first bit from `from` on, below `end`, that is not set. */
  firstClear(from: number, end: number): number | null {
    let at = from;
    while (at < end) {
      if ((at & 7) === 0 && at + 8 <= end && this.#bytes[at >>> 3] === 0xff) at += 8;
      else if (this.has(at)) at++;
      else return at;
    }
    return null;
  }

  /** The first bit from `from` on, below `end`, that is set. */
  firstSet(from: number, end: number): number | null {
    let at = from;
    while (at < end) {
      if ((at & 7) === 0 && at + 8 <= end && this.#bytes[at >>> 3] === 0) at += 8;
      else if (!this.has(at)) at++;
      else return at;
    }
    return null;
  }
}
