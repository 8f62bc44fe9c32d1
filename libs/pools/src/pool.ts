/**
 * The port of every pool driver. A pool stores blocks; a block exists in it iff its manifest is committed there.
 *
 * Digests are BLAKE3-256 of a chunk's plain bytes (32 bytes); a hole's digest is 32 zero bytes. A chunk of zeros is
 * always a hole, so that equal content has equal digests. The root digest is BLAKE3-256 over the manifest
 * (`manifest.ts`), the same in every pool.
 *
 * Errors are those of @openservice/domain: PermanentError (`block_not_in_pool`, `damaged_chunk`, `no_space`,
 * `access_denied`, …), TransientError, FencedError (a newer fence owns the block here), CancelledError on abort.
 */

/** A source of chunks: a stored block, or a file being imported. */
export interface ChunkSource {
  /** Exact bytes. */
  readonly size: number;
  /** Bytes of every chunk but perhaps the last. */
  readonly chunkSize: number;
  /** Ranges of chunks that may hold data, ascending, from chunk `from` on; whatever lies between them is holes. */
  extents(from: number, signal: AbortSignal): AsyncIterable<ChunkRange>;
  /**
   * Reads chunk `index` into `target` (at least the chunk's length; the rest is untouched) and answers the digest of
   * its bytes. A stored block checks it against its manifest first: PermanentError `damaged_chunk`.
   * May run many times at once. The hole digest comes back for a chunk that is all zeros.
   */
  readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer>;
  close(): Promise<void>;
}

export interface ChunkRange {
  first: number;
  count: number;
}

export interface BlockReader extends ChunkSource {
  readonly rootDigest: Buffer;
  /** Any bytes, checked; for live disks. PermanentError `out_of_range` past the end. */
  read(offset: number, length: number, signal: AbortSignal): Promise<Buffer>;
}

/** Who writes: a block's replica is written by one attempt of one job at a time. */
export interface WriteSession {
  blockId: string;
  /** Exact bytes. */
  size: number;
  chunkSize: number;
  jobId: string;
  attempt: number;
  /** Fencing token: grows with every attempt that may touch this block. A pool refuses a lower one than it has seen. */
  fence: number;
}

/**
 * Life: openWriter → (put | hole | checkpoint)* → prepare → commit → close; or abort instead of commit; or close alone,
 * which leaves what is durable for the next attempt. After a FencedError only close may be called.
 */
export interface BlockWriter {
  /** Chunks (holes too) that are durable here from before: by an earlier attempt of the same job, or by this one. */
  has(index: number): boolean;
  /** For each digest: true where the pool does not hold such a chunk yet and its bytes must be put. */
  missing(digests: readonly Buffer[]): Promise<boolean[]>;
  /**
   * Takes chunk `index`. Resolves when `bytes` may be reused (back pressure), not when they are durable.
   * Chunks may come in any order within a window of 64 chunks, many at once; the same chunk twice is no error.
   */
  put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void>;
  /** Chunks `first` … `first + count - 1` are holes. */
  hole(first: number, count: number): void;
  /** All that was put before the call is durable, and known to the next attempt, once this resolves. */
  checkpoint(signal: AbortSignal): Promise<void>;
  /** Everything durable, every chunk accounted for, manifest written; nothing visible yet. May be repeated. */
  prepare(signal: AbortSignal): Promise<Prepared>;
  /** Makes the block visible, atomically. Repeating it after success is no error. FencedError for an old attempt. */
  commit(signal: AbortSignal): Promise<void>;
  /** Removes all that this session wrote and did not commit. May be repeated. FencedError for an old attempt. */
  abort(signal: AbortSignal): Promise<void>;
  /** Bytes handed to the pool's disk or wire by this writer, tries that failed included. */
  readonly bytesSent: number;
  /** Bytes that were durable here when the writer was opened, sent by runs that died before they could say so; left out where not known. */
  readonly bytesKept?: number;
  close(): Promise<void>;
}

export interface Prepared {
  rootDigest: Buffer;
  /** Bytes that the replica takes up in the pool. */
  storedBytes: number;
}

export interface BlockStat extends Prepared {
  blockId: string;
  size: number;
  chunkSize: number;
}

export interface PoolProbe {
  /** Bytes, or null where the store sets no limit. */
  capacityBytes: number | null;
  fencing: 'strict' | 'advisory';
}

export interface Pool {
  readonly id: string;
  /** For messages; never a secret. */
  readonly name: string;
  /**
   * Proves that the pool can be used: write, read back, delete. With `create`, marks an empty place as this pool's (again
   * is no error); a place that holds something else is refused: PermanentError `pool_path_in_use`. Without it, a place that is
   * not this pool's is `pool_not_initialised`.
   */
  probe(options: { create: boolean }, signal: AbortSignal): Promise<PoolProbe>;
  /** The committed block, or null. */
  stat(blockId: string, signal: AbortSignal): Promise<BlockStat | null>;
  /** PermanentError `block_not_in_pool` when it is not committed here. */
  openReader(blockId: string, signal: AbortSignal): Promise<BlockReader>;
  /**
   * Opens the block for writing, fencing off every older session. Resumes what the same job left; what another job left
   * uncommitted is dropped first. A block that is committed already is PermanentError `block_exists` — unless by this same job: then has() is
   * true for all, and prepare() and commit() answer as they did.
   */
  openWriter(session: WriteSession, signal: AbortSignal): Promise<BlockWriter>;
  /** Removes the block, committed or not. Not there: no error, but the fence stands. FencedError for an old attempt. */
  remove(blockId: string, fence: number, signal: AbortSignal): Promise<void>;
  /** Every committed block, in order of id. */
  list(signal: AbortSignal): AsyncIterable<BlockStat>;
  close(): Promise<void>;
}
