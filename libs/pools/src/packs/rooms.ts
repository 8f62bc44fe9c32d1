/**
 * Shared memory that packs are read into: from there a record goes to a worker thread without a copy. It is used again and again, by all readers of
 * the process: V8 does not see how much of it is garbage, and would let it pile up.
 */
import { sharedBuffer } from '@openservice/codec';

/** A class of buffers: the bytes of each, and how many that nobody uses are kept. */
interface Shelf {
  readonly bytes: number;
  readonly most: number;
  readonly free: Buffer[];
}

const IDLE_MS = 10_000;

export class Rooms {
  readonly #shelves: Shelf[];
  #idle: NodeJS.Timeout | null = null;

  /** `sizes`: bytes and number, ascending. */
  constructor(sizes: readonly (readonly [bytes: number, most: number])[]) {
    this.#shelves = sizes.map(([bytes, most]) => ({ bytes, most, free: [] }));
  }

  /** At least `bytes` long; null where no class is. Give it back when nothing can touch it any more. */
  take(bytes: number): Buffer | null {
    const shelf = this.#shelves.find((one) => one.bytes >= bytes);
    if (shelf === undefined) return null;
    this.#idle = this.#idle?.refresh() ?? setTimeout(() => this.#empty(), IDLE_MS).unref();
    return shelf.free.pop() ?? sharedBuffer(shelf.bytes);
  }

  giveBack(room: Buffer): void {
    const shelf = this.#shelves.find((one) => one.bytes === room.length);
    if (shelf !== undefined && shelf.free.length < shelf.most && this.#idle !== null) shelf.free.push(room);
  }

  /** Nobody has read for a while. */
  #empty(): void {
    this.#idle = null;
    for (const shelf of this.#shelves) shelf.free.length = 0;
  }
}
