/** The one copy engine: reader → (skip holes, skip what the target has) → writer. */
import type { BlockWriter, ChunkSource, Prepared, StoredChunk } from '@openservice/pools';
import type { ByteLimit } from './token-bucket.ts';

export interface TransferSource extends ChunkSource {
  /** As BlockReader has it: where the writer takes stored chunks, they travel as they are. */
  readStored?(index: number, signal: AbortSignal): Promise<StoredChunk | null>;
  /** A number that changes while the source works and hands out no chunk yet: so it is not taken for stalled. */
  readonly activity?: number;
}

export interface TransferOptions {
  source: TransferSource;
  writer: BlockWriter;
  signal: AbortSignal;
  /** Chunks in flight, each with a buffer of its own; bounds memory at `window * chunkSize` bytes (64 MiB at most). Default 16. */
  window?: number;
  /** Bytes read from the source a second at most, as it stores them where they travel so; null or left out: no limit. */
  bandwidth?: number | null;
  /** Limits that this transfer shares with others; each counts, beside `bandwidth`. */
  limits?: readonly ByteLimit[];
  /** ms without a byte moved after which the transfer gives up with TransientError `stalled`. Default 120 000. */
  stallLimit?: number;
  /** Called after each checkpoint of the writer, at least every 5 s while bytes move; awaited. */
  onCheckpoint?: (counters: TransferCounters) => Promise<void>;
  /** Awaited before each chunk that is not known to be done; the ones before it are on their way. */
  beforeChunk?: () => void | Promise<void>;
  /** Called often (every chunk); must be quick. */
  onProgress?: (counters: TransferCounters) => void;
  /** Called when all chunks are put, before the writer prepares. */
  onPreparing?: () => Promise<void>;
}

/** All in bytes of the disk, but bytesSent: bytes handed to the target by this writer. */
export interface TransferCounters {
  bytesTotal: number;
  /** Read and put, skipped, or found done: reaches bytesTotal. */
  bytesDone: number;
  bytesSent: number;
  /** Holes, and chunks that the target had already. */
  bytesSkipped: number;
}

export interface TransferResult extends Prepared {
  counters: TransferCounters;
}
