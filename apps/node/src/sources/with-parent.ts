/**
 * An increment: what was not changed since the parent block comes from the parent, and is not read. Whoever names the changed extents may
 * be wrong (a lost bitmap, a snapshot too many), so before anything counts some of the chunks that were not named are read and compared; one that
 * differs makes it a full read. Chunks that are holes in both are equal, and not drawn.
 * What of the parent turns out damaged is read from the source, too, which is the truth.
 */
import { type ChunkWorkers, sharedBuffer } from '@openservice/codec';
import { chunkCount, chunkLength } from '@openservice/domain';
import type { BlockReader, ChunkRange, ChunkSource, StoredChunk } from '@openservice/pools';
import { isUnreadable } from '../unreadable.ts';
import { ChunkSet } from './chunk-set.ts';
import type { ImportSource } from './port.ts';
import { Sample } from './sample.ts';

/** Of the unchanged chunks, and the bounds of how many. */
const SAMPLE_PART = 0.01;
const SAMPLE_LEAST = 16;
const SAMPLE_MOST = 128;
/** Chunks compared at once. */
const SIDE_BY_SIDE = 4;

export interface ParentOptions {
  /** The same chunks are drawn for the same seed: a run that goes on agrees with the one before it. */
  seed: string;
  workers: ChunkWorkers;
}

/** `changed` null: all is read, and the parent is only lineage. Closing it closes both. Extents in bytes. */
export function withParent(
  source: ImportSource,
  parent: BlockReader,
  changed: readonly { offset: number; length: number }[] | null,
  options: ParentOptions,
): ImportSource {
  return new Increment(source, parent, changed, options);
}

class Increment implements ImportSource {
  readonly size: number;
  readonly chunkSize: number;
  readonly identity: unknown;
  readonly #source: ImportSource;
  readonly #parent: BlockReader;
  readonly #seed: string;
  readonly #chunks: number;
  /** Chunks that are read from the source; null: all of them. */
  #touched: ChunkSet | null;
  #checked: Promise<void> | null = null;
  #activity = 0;
  readonly #notes: string[] = [];
  #damaged = 0;
  #firstDamage = '';

  constructor(
    source: ImportSource,
    parent: BlockReader,
    changed: readonly { offset: number; length: number }[] | null,
    options: ParentOptions,
  ) {
    this.size = source.size;
    this.chunkSize = source.chunkSize;
    this.identity = source.identity;
    this.#source = source;
    this.#parent = parent;
    this.#seed = options.seed;
    this.#chunks = chunkCount(source.size, source.chunkSize);
    this.#touched = changed === null ? null : this.#touchedBy(changed);
    if (changed !== null && this.#touched === null) {
      this.#notes.push(
        `The parent has chunks of ${parent.chunkSize} bytes and this block of ${this.chunkSize}: all of the source was read.`,
      );
    }
  }

  /** Changes while chunks are compared, before the first is handed out. */
  get activity(): number {
    return this.#activity;
  }

  async *extents(from: number, signal: AbortSignal): AsyncIterable<ChunkRange> {
    this.#checked ??= this.#check(signal);
    await this.#checked;
    let next = from;
    if (this.#touched !== null) {
      try {
        for await (const range of ascending(this.#parent.extents(from, signal), this.#touched.ranges(from), this.#chunks)) {
          yield range;
          next = range.first + range.count;
        }
        return;
      } catch (error) {
        this.#giveUpParent(error);
      }
    }
    yield* this.#source.extents(next, signal);
  }

  async knownDigest(index: number, signal: AbortSignal): Promise<Buffer | null> {
    return (await this.#ofParent(index, () => this.#parent.knownDigest?.(index, signal))) ?? null;
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    const digest = await this.#ofParent(index, () => this.#parent.readChunk(index, target, signal));
    return digest ?? this.#source.readChunk(index, target, signal);
  }

  async readStored(index: number, signal: AbortSignal): Promise<StoredChunk | null> {
    return (await this.#ofParent(index, () => this.#parent.readStored?.(index, signal))) ?? null;
  }

  assertUnchanged(): Promise<void> {
    return this.#source.assertUnchanged();
  }

  notes(): string[] {
    const damage =
      this.#damaged === 0
        ? []
        : [
            `Damaged chunks of the parent, read from the source instead: ${this.#damaged}. Verify the parent. The first: ${this.#firstDamage}`,
          ];
    return [...this.#notes, ...damage, ...this.#source.notes()];
  }

  async close(): Promise<void> {
    await Promise.all([this.#source.close(), this.#parent.close()]);
  }

  #fromParent(index: number): boolean {
    return this.#touched !== null && !this.#touched.has(index);
  }

  /** What `look` finds where the chunk is the parent's to tell; null where it is the source's, or has just become so. */
  async #ofParent<T>(index: number, look: () => Promise<T> | undefined): Promise<T | null> {
    if (!this.#fromParent(index)) return null;
    try {
      return (await look()) ?? null;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.#damagedAt(index, error);
      return null;
    }
  }

  #damagedAt(index: number, { message }: Error): void {
    if (!this.#fromParent(index)) return;
    this.#touched?.add(index, index + 1);
    this.#damaged++;
    if (this.#damaged === 1) this.#firstDamage = message;
  }

  /** Where the parent does not even tell which chunks it has. Any other error is thrown on. */
  #giveUpParent(error: unknown): void {
    if (!isUnreadable(error)) throw error;
    this.#touched = null;
    this.#notes.push(`The parent could not be read any further, so the rest of the source was: ${error.message}`);
  }

  /** Null where chunks of the one are none of the other. What lies past the parent's end, or has another length there, counts as changed. */
  #touchedBy(changed: readonly { offset: number; length: number }[]): ChunkSet | null {
    if (this.#parent.chunkSize !== this.chunkSize) return null;
    const touched = new ChunkSet(this.#chunks);
    for (const { offset, length } of changed) {
      touched.add(Math.floor(offset / this.chunkSize), Math.ceil((offset + length) / this.chunkSize));
    }
    if (this.#parent.size !== this.size) {
      touched.add(Math.floor(Math.min(this.#parent.size, this.size) / this.chunkSize), this.#chunks);
    }
    return touched;
  }

  async #check(signal: AbortSignal): Promise<void> {
    const touched = this.#touched;
    if (touched === null) return;
    const sample = new Sample(this.#seed, { part: SAMPLE_PART, least: SAMPLE_LEAST, most: SAMPLE_MOST });
    const either = ascending(this.#parent.extents(0, signal), this.#source.extents(0, signal), this.#chunks);
    try {
      for await (const { first, count } of either) {
        for (let index = first; index < first + count; index++) if (!touched.has(index)) sample.offer(index);
      }
    } catch (error) {
      return this.#giveUpParent(error);
    }
    const drawn = sample.drawn();
    const wrong = await this.#firstDifference(drawn, signal);
    if (wrong === null) return;
    this.#touched = null;
    this.#notes.push(
      `Chunk ${wrong} (from byte ${wrong * this.chunkSize} on) differs from the parent though it was not among the changed extents: they are not to be trusted, and all of the source was read.`,
    );
  }

  async #firstDifference(drawn: readonly number[], signal: AbortSignal): Promise<number | null> {
    const queue = [...drawn];
    let wrong: number | null = null;
    const lane = async () => {
      const buffer = sharedBuffer(this.chunkSize);
      for (let index = queue.shift(); index !== undefined && wrong === null; index = queue.shift()) {
        const there = await this.#ofParent(index, () => this.#digestIn(this.#parent, index, buffer, signal));
        if (there === null) continue;
        const now = await this.#source.readChunk(index, buffer, signal);
        this.#activity += chunkLength(this.size, this.chunkSize, index);
        if (!now.equals(there)) wrong ??= index;
      }
    };
    const lanes = Array.from({ length: Math.min(SIDE_BY_SIDE, drawn.length) }, () =>
      lane().catch((error: unknown) => {
        queue.length = 0;
        throw error;
      }),
    );
    // All have ended before anybody closes what they read from.
    for (const ended of await Promise.allSettled(lanes)) if (ended.status === 'rejected') throw ended.reason;
    return wrong;
  }

  async #digestIn(reader: ChunkSource, index: number, buffer: Buffer, signal: AbortSignal): Promise<Buffer> {
    return (await reader.knownDigest?.(index, signal)) ?? Buffer.from(await reader.readChunk(index, buffer, signal));
  }
}

/** Both in one, ascending by their first chunk, without overlaps; ends at `total`. */
async function* ascending(
  a: AsyncIterable<ChunkRange>,
  b: AsyncIterable<ChunkRange> | Iterable<ChunkRange>,
  total: number,
): AsyncGenerator<ChunkRange> {
  const left = a[Symbol.asyncIterator]();
  const right = Symbol.asyncIterator in b ? b[Symbol.asyncIterator]() : b[Symbol.iterator]();
  let [one, two] = [await left.next(), await right.next()];
  for (let next = 0; one.done !== true || two.done !== true; ) {
    const takeOne = two.done === true || (one.done !== true && one.value.first <= two.value.first);
    const range = (takeOne ? one.value : two.value) as ChunkRange;
    const first = Math.max(next, range.first);
    const end = Math.min(range.first + range.count, total);
    if (end > first) yield { first, count: end - first };
    next = Math.max(next, end);
    if (takeOne) one = await left.next();
    else two = await right.next();
  }
}
