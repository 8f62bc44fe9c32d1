/**
 * What a live disk holds at one moment, as a source of chunks: where nothing was written it is the base, whose digests are known without
 * reading, so that only what changed is read.
 */
import type { ChunkWorkers } from '@openservice/codec';
import { chunkLength } from '@openservice/domain';
import type { FrozenDisk } from '@openservice/nbd';
import type { BlockReader, ChunkRange, ChunkSource } from '@openservice/pools';

export class SavedSource implements ChunkSource {
  readonly size: number;
  readonly chunkSize: number;
  readonly #frozen: FrozenDisk;
  readonly #base: BlockReader;
  readonly #workers: ChunkWorkers;
  /** Chunks with a byte that may differ from the base; ascending, neither touching nor overlapping. */
  readonly #touched: ChunkRange[];

  /** `frozen` stays the caller's; `base` is closed with the source. */
  constructor(frozen: FrozenDisk, base: BlockReader, workers: ChunkWorkers) {
    this.size = base.size;
    this.chunkSize = base.chunkSize;
    this.#frozen = frozen;
    this.#base = base;
    this.#workers = workers;
    this.#touched = chunksOf(frozen.changed, base.chunkSize);
  }

  /** Those of the base and those that were touched, together. */
  async *extents(from: number, signal: AbortSignal): AsyncIterable<ChunkRange> {
    let open: ChunkRange | null = null;
    for await (const range of merged(this.#base.extents(from, signal), this.#touched, from)) {
      if (open !== null && range.first <= open.first + open.count) {
        open.count = Math.max(open.count, range.first + range.count - open.first);
      } else {
        if (open !== null) yield open;
        open = { ...range };
      }
    }
    if (open !== null) yield open;
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    if (!this.#isTouched(index)) return this.#base.readChunk(index, target, signal);
    const chunk = target.subarray(0, chunkLength(this.size, this.chunkSize, index));
    await this.#frozen.device.read(index * this.chunkSize, chunk);
    signal.throwIfAborted();
    return this.#workers.digest(chunk);
  }

  async knownDigest(index: number, signal: AbortSignal): Promise<Buffer | null> {
    if (this.#isTouched(index)) return null;
    return (await this.#base.knownDigest?.(index, signal)) ?? null;
  }

  close(): Promise<void> {
    return this.#base.close();
  }

  #isTouched(index: number): boolean {
    let [low, high] = [0, this.#touched.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { first, count } = this.#touched[middle]!;
      if (index < first) high = middle;
      else if (index >= first + count) low = middle + 1;
      else return true;
    }
    return false;
  }
}

function chunksOf(ranges: readonly { offset: number; length: number }[], chunkSize: number): ChunkRange[] {
  const chunks: ChunkRange[] = [];
  for (const { offset, length } of ranges) {
    const first = Math.floor(offset / chunkSize);
    const end = Math.ceil((offset + length) / chunkSize);
    const last = chunks.at(-1);
    if (last !== undefined && last.first + last.count >= first) last.count = Math.max(last.count, end - last.first);
    else chunks.push({ first, count: end - first });
  }
  return chunks;
}

/** Both lists in order of their first chunks, those that end before `from` left out. */
async function* merged(
  base: AsyncIterable<ChunkRange>,
  touched: readonly ChunkRange[],
  from: number,
): AsyncGenerator<ChunkRange> {
  let at = touched.findIndex(({ first, count }) => first + count > from);
  if (at < 0) at = touched.length;
  const cut = ({ first, count }: ChunkRange): ChunkRange => ({
    first: Math.max(first, from),
    count: first + count - Math.max(first, from),
  });
  for await (const range of base) {
    for (; at < touched.length && touched[at]!.first <= range.first; at++) yield cut(touched[at]!);
    yield range;
  }
  for (; at < touched.length; at++) yield cut(touched[at]!);
}
