/** Chunks of a disk behind an NBD server. */
import type { ChunkWorkers } from '@openservice/codec';
import { chunkCount, chunkLength } from '@openservice/domain';
import type { NbdClient } from '@openservice/nbd';
import type { ChunkRange } from '@openservice/pools';
import type { ImportSource, SourceBlock } from './port.ts';

export interface NbdDiskOptions {
  client: NbdClient;
  block: SourceBlock;
  workers: ChunkWorkers;
  identity: unknown;
  notes: string[];
  assertUnchanged: () => Promise<void>;
  /** Lets go of the client and what stands behind it. */
  close: () => Promise<void>;
}

export class NbdDiskSource implements ImportSource {
  readonly size: number;
  readonly chunkSize: number;
  readonly identity: unknown;
  readonly #options: NbdDiskOptions;

  constructor(options: NbdDiskOptions) {
    this.size = options.block.size;
    this.chunkSize = options.block.chunkSize;
    this.identity = options.identity;
    this.#options = options;
  }

  async *extents(from: number, signal: AbortSignal): AsyncIterable<ChunkRange> {
    let next = from;
    for await (const { offset, length } of this.#options.client.extents(from * this.chunkSize, signal)) {
      const first = Math.max(next, Math.floor(offset / this.chunkSize));
      const end = Math.min(Math.ceil((offset + length) / this.chunkSize), chunkCount(this.size, this.chunkSize));
      if (end > first) yield { first, count: end - first };
      next = Math.max(next, end);
    }
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    const bytes = target.subarray(0, chunkLength(this.size, this.chunkSize, index));
    await this.#options.client.read(index * this.chunkSize, bytes, signal);
    return this.#options.workers.digest(bytes);
  }

  assertUnchanged(): Promise<void> {
    return this.#options.assertUnchanged();
  }

  notes(): string[] {
    return this.#options.notes;
  }

  close(): Promise<void> {
    return this.#options.close();
  }
}
