/**
 * Which names are void to a session: the first 8 bytes of each, sorted, so that many rounds of collection fit into memory. Names are hashes; if
 * another one ever began the same, it would merely not be relied on.
 */
import type { NameList } from './name-list.ts';

const NONE = new BigUint64Array(0);

export class NameSet {
  #starts = NONE;

  get size(): number {
    return this.#starts.length;
  }

  add(list: NameList): void {
    const starts = new BigUint64Array(this.#starts.length + list.count);
    starts.set(this.#starts);
    for (let i = 0; i < list.count; i++) starts[this.#starts.length + i] = list.at(i).readBigUInt64LE(0);
    this.#starts = starts.sort();
  }

  has(name: Buffer): boolean {
    if (this.#starts.length === 0) return false;
    const wanted = name.readBigUInt64LE(0);
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return this.#starts[low] === wanted;
  }
}
