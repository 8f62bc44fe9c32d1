/** Numbers of chunks, a bit each: 8 MiB for the largest disk. */
import type { ChunkRange } from '@openservice/pools';

export class ChunkSet {
  readonly #bits: Uint8Array;
  readonly #chunks: number;

  constructor(chunks: number) {
    this.#chunks = chunks;
    this.#bits = new Uint8Array(Math.ceil(chunks / 8));
  }

  has(index: number): boolean {
    return ((this.#bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  /** Chunks `first` to `end - 1`, as far as the disk has them. */
  add(first: number, end: number): void {
    for (let index = first; index < Math.min(end, this.#chunks); index++) {
      this.#bits[index >> 3] = (this.#bits[index >> 3] ?? 0) | (1 << (index & 7));
    }
  }

  *ranges(from: number): Generator<ChunkRange> {
    for (let index = from; index < this.#chunks; index++) {
      if (!this.has(index)) {
        if ((index & 7) === 0 && this.#bits[index >> 3] === 0) index += 7;
        continue;
      }
      const first = index;
      while (index < this.#chunks && this.has(index)) index++;
      yield { first, count: index - first };
    }
  }
}
