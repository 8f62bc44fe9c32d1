/**
 * Shared memory that threads know by number. To post a view of shared memory costs more than to digest a small chunk; the buffers are few
 * and used again and again, so each is posted to a thread once. A thread lets go of what its owner dropped, and then has to collect: V8 does not
 * count shared memory, so of a thread whose own garbage is small it would never come back.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** A view of shared memory: the number of the memory, the first byte, bytes. */
export type Place = readonly [memory: number, offset: number, length: number];

export interface ShelfNews {
  added: [number, SharedArrayBuffer][];
  dropped: number[];
}

const numbers = new WeakMap<SharedArrayBuffer, number>();
const dropped = new Set<(memory: number) => void>();
const registry = new FinalizationRegistry<number>((memory) => {
  for (const drop of dropped) drop(memory);
});
let last = 0;

/** What one thread has on its shelf, as its owner knows it. */
export class ShelfOf {
  readonly #known = new Set<number>();
  #news: ShelfNews = { added: [], dropped: [] };
  readonly #drop = (memory: number): void => {
    if (this.#known.delete(memory)) this.#news.dropped.push(memory);
  };

  constructor() {
    dropped.add(this.#drop);
  }

  /** `bytes` must be shared. The next news says which memory that is, where the thread does not know it yet. */
  place(bytes: Uint8Array): Place {
    const memory = bytes.buffer as unknown as SharedArrayBuffer;
    let number = numbers.get(memory);
    if (number === undefined) {
      number = ++last;
      numbers.set(memory, number);
      registry.register(memory, number);
    }
    if (!this.#known.has(number)) {
      this.#known.add(number);
      this.#news.added.push([number, memory]);
    }
    return [number, bytes.byteOffset, bytes.byteLength];
  }

  /** To go with the next message; undefined where there are none. */
  news(): ShelfNews | undefined {
    if (this.#news.added.length === 0 && this.#news.dropped.length === 0) return undefined;
    const news = this.#news;
    this.#news = { added: [], dropped: [] };
    return news;
  }

  close(): void {
    dropped.delete(this.#drop);
  }
}

/** So many bytes that were let go of are collected together. */
const COLLECT_BYTES = 8 * 1024 * 1024;

/** The thread's side. */
export class Shelf {
  readonly #memories = new Map<number, SharedArrayBuffer>();
  readonly #collect = collector();
  #letGo = 0;

  take({ added, dropped: gone }: ShelfNews): void {
    for (const [number, memory] of added) this.#memories.set(number, memory);
    for (const number of gone) {
      this.#letGo += this.#memories.get(number)?.byteLength ?? 0;
      this.#memories.delete(number);
    }
    if (this.#letGo < COLLECT_BYTES) return;
    this.#letGo = 0;
    this.#collect();
  }

  bytes([number, offset, length]: Place): Buffer {
    const memory = this.#memories.get(number);
    if (memory === undefined) throw new Error(`shared memory ${number} was not told to this thread`);
    return Buffer.from(memory, offset, length);
  }
}

/** Node has it behind a flag, and a context that is made once the flag is set has it, too. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('globalThis.gc');
  return typeof collect === 'function' ? () => void collect() : () => undefined;
}
