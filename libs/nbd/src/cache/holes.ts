/**
 * Where a stored disk has holes. Looked up in stretches of 1 GiB as they are asked for, from what the store knows without reading data;
 * the stretches used last are kept.
 */
import type { DeviceExtent } from '../device.ts';
import type { DiskReader } from './disk-reader.ts';

const STRETCH = 1024 * 1024 * 1024;
const KEPT = 256;

/** Ranges with data: offset, end, offset, end … ascending. */
type Ranges = number[];

export class Holes {
  readonly #reader: DiskReader;
  readonly #signal: AbortSignal;
  readonly #known = new Map<number, Ranges>();
  readonly #asked = new Map<number, Promise<Ranges>>();

  constructor(reader: DiskReader, signal: AbortSignal) {
    this.#reader = reader;
    this.#signal = signal;
  }

  /** True when the range is known to hold nothing but zeros; false says nothing. */
  isKnownHole(offset: number, length: number): boolean {
    const stretch = Math.floor(offset / STRETCH);
    if (Math.floor((offset + length - 1) / STRETCH) !== stretch) return false;
    const ranges = this.#known.get(stretch);
    return ranges !== undefined && !touches(ranges, offset, offset + length);
  }

  async isHole(offset: number, length: number): Promise<boolean> {
    for (let at = offset; at < offset + length; at = (Math.floor(at / STRETCH) + 1) * STRETCH) {
      if (touches(await this.#ranges(Math.floor(at / STRETCH)), at, offset + length)) return false;
    }
    return true;
  }

  async extents(offset: number, length: number, most: number): Promise<DeviceExtent[]> {
    const found: DeviceExtent[] = [];
    const end = offset + length;
    let at = offset;
    /** False when there is no room for one more. */
    const add = (to: number, zero: boolean): boolean => {
      if (to <= at) return true;
      const last = found.at(-1);
      if (last?.zero === zero) last.length += to - at;
      else if (found.length === most) return false;
      else found.push({ length: to - at, zero, hole: zero });
      at = to;
      return true;
    };
    while (at < end) {
      const stretch = Math.floor(at / STRETCH);
      const stop = Math.min(end, (stretch + 1) * STRETCH);
      const ranges = await this.#ranges(stretch);
      for (let i = firstAfter(ranges, at); i < ranges.length && ranges[i]! < stop; i += 2) {
        if (!add(Math.max(at, ranges[i]!), true) || !add(Math.min(stop, ranges[i + 1]!), false)) return found;
      }
      if (!add(stop, true)) return found;
    }
    return found;
  }

  #ranges(stretch: number): Promise<Ranges> {
    const known = this.#known.get(stretch);
    if (known !== undefined) return Promise.resolve(known);
    const asked = this.#asked.get(stretch) ?? this.#ask(stretch).finally(() => this.#asked.delete(stretch));
    this.#asked.set(stretch, asked);
    return asked;
  }

  async #ask(stretch: number): Promise<Ranges> {
    const [start, end] = [stretch * STRETCH, Math.min((stretch + 1) * STRETCH, this.#reader.size)];
    const ranges: Ranges = [];
    for await (const { offset, length } of this.#reader.data(start, this.#signal)) {
      if (offset >= end) break;
      ranges.push(Math.max(start, offset), Math.min(end, offset + length));
      if (offset + length >= end) break;
    }
    this.#known.set(stretch, ranges);
    if (this.#known.size > KEPT) this.#known.delete(this.#known.keys().next().value!);
    return ranges;
  }
}

/** Index of the first range that ends after `at`. */
function firstAfter(ranges: Ranges, at: number): number {
  let [low, high] = [0, ranges.length / 2];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle * 2 + 1]! <= at) low = middle + 1;
    else high = middle;
  }
  return low * 2;
}

function touches(ranges: Ranges, from: number, to: number): boolean {
  const at = firstAfter(ranges, from);
  return at < ranges.length && ranges[at]! < to;
}
