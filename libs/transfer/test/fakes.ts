/** Hand-made ends of a transfer for what no real pool shows on demand: counts, delays, failures. */
import type { BlockWriter, ChunkRange, ChunkSource, Prepared } from '@openservice/pools';
import { HOLE_DIGEST } from '@openservice/pools';

/** Chunk `i` of data is filled with byte `i % 250 + 1`, and its digest with the same. */
export class CountingSource implements ChunkSource {
  readonly size: number;
  readonly chunkSize: number;
  readonly #ranges: readonly ChunkRange[];
  reads: number[] = [];
  buffers = new Set<ArrayBufferLike>();
  onRead: (index: number, signal: AbortSignal) => Promise<void> = async () => {};

  constructor(size: number, chunkSize: number, ranges: readonly ChunkRange[]) {
    this.size = size;
    this.chunkSize = chunkSize;
    this.#ranges = ranges;
  }

  async *extents(): AsyncIterable<ChunkRange> {
    yield* this.#ranges;
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    this.reads.push(index);
    this.buffers.add(target.buffer);
    await this.onRead(index, signal);
    target.fill((index % 250) + 1);
    return Buffer.alloc(32, (index % 250) + 1);
  }

  async close(): Promise<void> {}
}

export class RecordingWriter implements BlockWriter {
  readonly chunks = new Map<number, number>();
  readonly holes: ChunkRange[] = [];
  readonly durable = new Set<number>();
  checkpoints = 0;
  prepared = false;
  bytesSent = 0;
  onPut: (index: number, signal: AbortSignal) => Promise<void> = async () => {};

  has(index: number): boolean {
    return this.durable.has(index);
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    return digests.map((digest) => !digest.equals(HOLE_DIGEST));
  }

  async put(index: number, _digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    await this.onPut(index, signal);
    this.chunks.set(index, bytes[0] ?? -1);
    this.bytesSent += bytes.length;
  }

  hole(first: number, count: number): void {
    this.holes.push({ first, count });
  }

  async checkpoint(): Promise<void> {
    this.checkpoints++;
  }

  async prepare(): Promise<Prepared> {
    this.prepared = true;
    return { rootDigest: Buffer.alloc(32, 9), storedBytes: this.bytesSent };
  }

  async commit(): Promise<void> {}
  async abort(): Promise<void> {}
  async close(): Promise<void> {}
}
