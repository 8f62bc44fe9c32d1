/**
 * Which names are void to a session: the first 8 bytes of each, sorted, so that many rounds of collection fit into memory. Names are hashes; if
 * another one ever began the same, it would merely not be relied on.
 */
import type { NameList } from './name-list.ts';

export class NameSet {
  readonly #lists: BigUint64Array[] = [];

  add(list: NameList): void {
    const starts = new BigUint64Array(list.count);
    for (let i = 0; i < list.count; i++) starts[i] = list.at(i).readBigUInt64BE(0);
    // Lists are ascending already, unless somebody wrote one otherwise.
    this.#lists.push(starts.sort());
  }

  has(name: Buffer): boolean {
    if (this.#lists.length === 0) return false;
    const wanted = name.readBigUInt64BE(0);
    return this.#lists.some((list) => list[firstFrom(list, wanted)] === wanted);
  }
}

/** Place of the first number that is not below `wanted`. */
function firstFrom(list: BigUint64Array, wanted: bigint): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle]! < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
