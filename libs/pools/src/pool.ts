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
import type { EncodedChunk } from '@openservice/codec';
import type { PermanentError } from '@openservice/domain';

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
  /** The digest of chunk `index` where it is known without reading it, the hole digest for a hole; null where it is not. */
  knownDigest?(index: number, signal: AbortSignal): Promise<Buffer | null>;
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
  /** As `read`, into all of `target`; a shared buffer spares a copy. What it holds after a rejection is not known. */
  readInto?(offset: number, target: Buffer, signal: AbortSignal): Promise<void>;
  /**
   * Fills `target` before it returns, where the bytes are at hand and were checked before; false says nothing of what `target` holds: use read.
   * Left out where the store never has them so.
   */
  readNow?(offset: number, target: Buffer): boolean;
  /**
   * Chunk `index` compressed as it is stored, its frames checked by their CRCs but not decoded: whoever takes it checks it against the
   * digest. Null where it is not stored so (a hole, a raw image, an encrypted pool): use readChunk.
   */
  readStored?(index: number, signal: AbortSignal): Promise<StoredChunk | null>;
}

/** A chunk in compressed frames, as packs and the wire between pools have it (docs/format.md, Chunk record). */
export interface StoredChunk extends EncodedChunk {
  digest: Buffer;
  /** Raw bytes of each frame but perhaps the last. */
  frameSize: number;
  rawLength: number;
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
  /** Kept with the block, for `list`. */
  meta?: BlockMeta;
}

/** What a pool keeps of the center's row: enough to make it again. Times are RFC 3339. */
export interface BlockMeta {
  name: string;
  set_id: string | null;
  set_name: string | null;
  parent_block_id: string | null;
  created_at: string;
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
  /** True when the target holds a chunk with this digest at `index` already (a file restored over): then it need not be put. */
  holds?(index: number, digest: Buffer, signal: AbortSignal): Promise<boolean>;
  /**
   * Takes chunk `index`. Resolves when `bytes` may be reused (back pressure), not when they are durable.
   * Chunks may come in any order within a window of 64 chunks, many at once; the same chunk twice is no error.
   * `bytes` may be empty for a chunk that `missing` said is there; PermanentError `chunk_bytes_needed` when it no longer is: put it
   * again with its bytes.
   */
  put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void>;
  /** As `put`, with a chunk as another pool stores it. It is decoded once to check its digest (PermanentError `damaged_chunk`), and stored as it came. */
  putStored?(index: number, chunk: StoredChunk, signal: AbortSignal): Promise<void>;
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
  /** True: in the pool's trash; neither stat nor openReader knows it. */
  trashed?: boolean;
  meta?: BlockMeta | null;
}

export interface ListOptions {
  /** Those in the trash too. */
  trashed?: boolean;
  /**
   * Called, in its place in the order of ids, for a block whose ledger or manifest or files are damaged or gone though nobody removed
   * it (`damaged_block`, `damaged_ledger`, …); the list goes on. Left out: the list throws that error, and ends.
   */
  onDamaged?: (blockId: string, error: PermanentError) => void;
}

export interface CollectOptions {
  jobId: string;
  /** ms that collection waits for sessions older than it to say that they know what is condemned; after that the rest is left to the next. */
  waitLimit?: number;
  /** Objects looked at so far, and an estimate of all. */
  onProgress?: (done: number, total: number) => void;
}

export interface CollectReport {
  removedObjects: number;
  freedBytes: number;
  /** Bytes of packs or files that stay. */
  liveBytes: number;
  /** Condemned, and kept because sessions did not answer in time: the next collection removes it. */
  keptObjects: number;
  /** Those sessions: `block … by job …`. */
  waitingFor: string[];
  /** Blocks that could not be marked from, by message: while there are any, nothing at all is removed. */
  damaged: { blockId: string; message: string }[];
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
  /**
   * Opens block `session.blockId` as a copy of `from`, committed in this pool, without moving data: has() is true for all, and prepare
   * and commit are all there is to do. Null where this pool cannot (no reflink): copy it through the engine. Fences and repeats as openWriter.
   */
  openClone(from: string, session: WriteSession, signal: AbortSignal): Promise<BlockWriter | null>;
  /** Puts a committed block into the pool's trash: not visible, but kept. In the trash already: no error. Not there: `block_not_in_pool`. */
  trash(blockId: string, fence: number, signal: AbortSignal): Promise<void>;
  /** Takes it out again; committed already: no error. PermanentError `block_not_in_pool` when it is not in the trash. */
  untrash(blockId: string, fence: number, signal: AbortSignal): Promise<void>;
  /** Removes the block, committed, in the trash or neither. Not there: no error, but the fence stands. FencedError for an old attempt. What it alone used is freed at once (raw) or by the next collect (packs). */
  remove(blockId: string, fence: number, signal: AbortSignal): Promise<void>;
  /** Every committed block, in order of id. */
  list(signal: AbortSignal, options?: ListOptions): AsyncIterable<BlockStat>;
  /**
   * Frees what nothing refers to. Safe beside writers and other collections on any node; killed anywhere it leaves only garbage for the
   * next. TransientError `collection_under_way` while another one works.
   */
  collect(options: CollectOptions, signal: AbortSignal): Promise<CollectReport>;
  /**
   * Makes chunk `index` of a committed block good with `bytes` (checked against the block's digest: PermanentError `digest_mismatch`), for
   * every block that shares it. `bytes` null: only marks it as damaged, so that no new block relies on it.
   */
  repair(blockId: string, index: number, bytes: Buffer | null, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
