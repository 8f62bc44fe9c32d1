/** Byte ranges of blocks of which only a part was written: so that a small write need not read the base first. */
import { BLOCK_BYTES } from './block-map.ts';

export interface ByteRange {
  /** Bytes within the block; `to` is past the last. */
  from: number;
  to: number;
}

export class PartialBlocks {
  /** In the order of their first write. */
  readonly #ranges = new Map<number, ByteRange[]>();

  get count(): number {
    return this.#ranges.size;
  }

  /** Ascending, neither touching nor overlapping. */
  of(block: number): readonly ByteRange[] {
    return this.#ranges.get(block) ?? [];
  }

  /** True when the whole block is covered now; it is forgotten then. */
  add(block: number, from: number, to: number): boolean {
    const merged: ByteRange[] = [];
    let [low, high] = [from, to];
    for (const range of this.of(block)) {
      if (range.to < low || range.from > high) merged.push(range);
      else [low, high] = [Math.min(low, range.from), Math.max(high, range.to)];
    }
    merged.push({ from: low, to: high });
    merged.sort((a, b) => a.from - b.from);
    if (low === 0 && high === BLOCK_BYTES) {
      this.#ranges.delete(block);
      return true;
    }
    this.#ranges.set(block, merged);
    return false;
  }

  delete(first: number, count: number): void {
    if (this.#ranges.size === 0) return;
    if (count <= this.#ranges.size) {
      for (let block = first; block < first + count; block++) this.#ranges.delete(block);
      return;
    }
    for (const block of this.#ranges.keys()) if (block >= first && block < first + count) this.#ranges.delete(block);
  }

  /** Those that have waited longest, `most` at most. */
  oldest(most: number): number[] {
    return this.#ranges.keys().take(most).toArray();
  }

  entries(): IterableIterator<[number, ByteRange[]]> {
    return this.#ranges.entries();
  }

  clear(): void {
    this.#ranges.clear();
  }
}
