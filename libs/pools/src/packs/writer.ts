/**
 * Writes a block into packs. put() compresses and appends to the open pack; full packs go off in the background; each durable pack gets
 * a session record; a segment whose chunks are all durable is written and forgotten. prepare() adds the manifest, commit() the ledger's entry.
 */
import { type ChunkWorkers, sharedBuffer } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { DIGEST_BYTES, isHole, RootHasher } from '../manifest.ts';
import type { BlockWriter, Prepared, WriteSession } from '../pool.ts';
import { Gate, orAborted } from './gate.ts';
import { locationsKey, manifestKey, segmentKey } from './keys.ts';
import { encodePackedManifest, SEGMENT_ENTRY_BYTES } from './packed-manifest.ts';
import { chunkId } from './pool-mark.ts';
import { maxRecordBytes } from './record.ts';
import { HASH_BYTES, hashOf, type LiveSegment, packSegment, segmentLength, unpackSegment } from './segment.ts';
import type { OpenPack, Uploads } from './uploads.ts';
import type { WriterState } from './writer-state.ts';

export const FRAME_BYTES = 128 * 1024;
const LEVEL = 1;
/** Chunks being compressed at once, each with a buffer of a chunk. */
const ENCODING = 6;

export interface WriterEnds {
  /** FencedError once a newer attempt owns the block. */
  check(signal: AbortSignal): Promise<void>;
  /** Ledger: committed, or FencedError. */
  commit(signal: AbortSignal): Promise<void>;
  /** Ledger: removed, or FencedError; then everything of this session is removed. */
  abort(signal: AbortSignal): Promise<void>;
}

export interface WriterParts {
  backend: Backend;
  workers: ChunkWorkers;
  digestKey: Buffer;
  session: WriteSession;
  state: WriterState;
  uploads: Uploads;
  stop: AbortController;
  ends: WriterEnds;
}

export class PacksWriter implements BlockWriter {
  readonly #parts: WriterParts;
  readonly #state: WriterState;
  readonly #uploads: Uploads;
  readonly #encoding = new Gate(() => ENCODING);
  readonly #outs: Buffer[] = [];
  readonly #puts = new Set<Promise<void>>();
  readonly #root: RootHasher;
  /** The first segment that is not in the root digest yet. */
  #nextRoot = 0;
  #metaBytes = 0;
  #open: OpenPack | null = null;
  #sealing: Promise<void> = Promise.resolve();
  #prepared: Prepared | null = null;

  constructor(parts: WriterParts) {
    this.#parts = parts;
    this.#state = parts.state;
    this.#uploads = parts.uploads;
    this.#root = new RootHasher(parts.session);
  }

  get bytesSent(): number {
    return this.#uploads.bytesSent;
  }

  get bytesKept(): number {
    return this.#uploads.bytesKept;
  }

  has(index: number): boolean {
    return this.#state.durable.has(index);
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    return digests.map((digest) => !isHole(digest) && this.#state.recent.find(this.#id(digest)) === null);
  }

  async put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    this.#uploads.throwFailure();
    const put = this.#put(index, digest, bytes, signal);
    const settled = put.catch(() => {}).finally(() => this.#puts.delete(settled));
    this.#puts.add(settled);
    await put;
  }

  hole(first: number, count: number): void {
    this.#state.hole(first, count);
  }

  async checkpoint(signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    await this.#parts.ends.check(signal);
    await orAborted(this.#flush(), signal);
  }

  async prepare(signal: AbortSignal): Promise<Prepared> {
    throwIfCancelled(signal);
    if (this.#prepared !== null) return this.#prepared;
    await this.#parts.ends.check(signal);
    await orAborted(this.#flush(), signal);
    const gap = this.#state.durable.firstClear(0, this.#state.chunks);
    if (gap !== null) {
      throw new PermanentError(
        'incomplete_block',
        `Chunk ${gap} of block ${this.#parts.session.blockId} was neither put nor declared a hole.`,
      );
    }
    this.#prepared = await this.#writeManifest(signal);
    return this.#prepared;
  }

  async commit(signal: AbortSignal): Promise<void> {
    await this.prepare(signal);
    await this.#parts.ends.commit(signal);
  }

  async abort(signal: AbortSignal): Promise<void> {
    this.#parts.stop.abort();
    await this.#uploads.quiet();
    await this.#parts.ends.abort(signal);
  }

  async close(): Promise<void> {
    this.#parts.stop.abort();
    await this.#uploads.quiet();
    await this.#sealing.catch(() => {});
  }

  #id(digest: Buffer): Buffer {
    return chunkId(this.#parts.digestKey, digest);
  }

  async #put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    if (index < 0 || index >= this.#state.chunks)
      throw new PermanentError('out_of_range', `Block ${this.#parts.session.blockId} has no chunk ${index}.`);
    if (isHole(digest)) return this.hole(index, 1);
    if (this.#state.accounted.has(index)) return;
    while (this.#uploads.crowded) {
      await orAborted(this.#uploads.progress(), signal);
      this.#uploads.throwFailure();
    }
    const id = this.#id(digest);
    const known = this.#state.recent.find(id);
    if (known !== null) {
      this.#state.place(index, digest, known);
      this.#uploads.attach(index, known.pack);
      return;
    }
    if (bytes.length === 0)
      throw new PermanentError('chunk_bytes_needed', `Chunk ${index} is not in the pool; its bytes are needed.`);
    await this.#encoding.enter(1);
    try {
      throwIfCancelled(signal);
      await this.#encode(index, digest, id, bytes);
    } finally {
      this.#encoding.leave(1);
    }
    this.#uploads.throwFailure();
  }

  async #encode(index: number, digest: Buffer, id: Buffer, bytes: Buffer): Promise<void> {
    const out = this.#outs.pop() ?? sharedBuffer(this.#parts.session.chunkSize);
    try {
      const chunk = await this.#parts.workers.encode(bytes, out, { frameSize: FRAME_BYTES, level: LEVEL });
      if (this.#state.accounted.has(index)) return;
      const most = maxRecordBytes(bytes.length, FRAME_BYTES);
      const needed = most - bytes.length + chunk.bytes.length;
      if (this.#open !== null && !this.#open.builder.fits(needed)) this.#sendOpen();
      this.#open ??= this.#uploads.newPack(maxRecordBytes(this.#parts.session.chunkSize, FRAME_BYTES));
      const pack = this.#open.builder.number;
      const place = { pack, ...this.#open.builder.append(id, bytes.length, FRAME_BYTES, chunk) };
      this.#state.recent.add(id, place);
      this.#state.place(index, digest, place);
      this.#uploads.attach(index, pack);
    } finally {
      this.#outs.push(out);
    }
  }

  #sendOpen(): void {
    if (this.#open === null) return;
    this.#uploads.send(this.#open);
    this.#open = null;
    void this.#seal().catch(() => {});
  }

  async #flush(): Promise<void> {
    await Promise.all(this.#puts);
    this.#sendOpen();
    await this.#uploads.settle();
    await this.#seal();
  }

  /** Writes the segments that are finished, one after the other. */
  #seal(): Promise<void> {
    this.#sealing = this.#sealing.then(async () => {
      for (const [segment, live] of this.#state.takeFinished()) await this.#writeSegment(segment, live);
    });
    return this.#sealing;
  }

  async #writeSegment(segment: number, live: LiveSegment): Promise<void> {
    const { blockId, fence } = this.#parts.session;
    const locations = live.encodeLocations((pack) => this.#state.packs.name(pack));
    const digestsHash = hashOf(live.digests);
    const locationsHash = hashOf(locations);
    const stored = [await packSegment(live.digests), await packSegment(locations)] as const;
    await this.#uploads.putObject(segmentKey(blockId, fence, digestsHash), stored[0]);
    await this.#uploads.putObject(locationsKey(blockId, fence, locationsHash), stored[1]);
    this.#metaBytes += stored[0].length + stored[1].length;
    const at = segment * SEGMENT_ENTRY_BYTES;
    digestsHash.copy(this.#state.hashes, at);
    locationsHash.copy(this.#state.hashes, at + HASH_BYTES);
    this.#hashHoleSegments();
    if (segment === this.#nextRoot) this.#hashSegment(live.digests);
  }

  #hashSegment(digests: Buffer): void {
    this.#root.update(digests);
    this.#nextRoot++;
  }

  /** Segments of holes alone that come next in the root digest. */
  #hashHoleSegments(): void {
    while (this.#nextRoot < this.#state.segmentCount) {
      const at = this.#nextRoot * SEGMENT_ENTRY_BYTES;
      const hash = this.#state.hashes.subarray(at, at + HASH_BYTES);
      if (!isHole(hash) || this.#state.isLive(this.#nextRoot) || !this.#state.complete(this.#nextRoot)) return;
      this.#hashSegment(Buffer.alloc(segmentLength(this.#nextRoot, this.#state.chunks) * DIGEST_BYTES));
    }
  }

  async #writeManifest(signal: AbortSignal): Promise<Prepared> {
    const { blockId, fence, size, chunkSize } = this.#parts.session;
    for (;;) {
      this.#hashHoleSegments();
      if (this.#nextRoot === this.#state.segmentCount) break;
      // A segment that was finished before an earlier one: only after a resume.
      const at = this.#nextRoot * SEGMENT_ENTRY_BYTES;
      const hash = this.#state.hashes.subarray(at, at + HASH_BYTES);
      const key = segmentKey(blockId, fence, hash);
      this.#hashSegment(await unpackSegment(await this.#parts.backend.get(key, null, signal), hash, key));
    }
    const rootDigest = this.#root.digest();
    const storedBytes = this.#state.packs.usedBytes() + this.#metaBytes;
    const manifest = encodePackedManifest({ size, chunkSize, rootDigest, storedBytes, segments: this.#state.hashes });
    await this.#uploads.putObject(manifestKey(blockId, fence), manifest);
    return { rootDigest, storedBytes };
  }
}

/** The writer of a block that this very job has committed already: everything is there, and stays. */
export class CommittedWriter implements BlockWriter {
  readonly bytesSent = 0;
  readonly #prepared: Prepared;
  readonly #sweep: (signal: AbortSignal) => Promise<void>;

  /** `sweep` removes what a crash right after the commit left. */
  constructor(prepared: Prepared, sweep: (signal: AbortSignal) => Promise<void>) {
    this.#prepared = prepared;
    this.#sweep = sweep;
  }

  has(): boolean {
    return true;
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    return digests.map(() => false);
  }

  async put(): Promise<void> {}

  hole(): void {}

  async checkpoint(): Promise<void> {}

  async prepare(): Promise<Prepared> {
    return this.#prepared;
  }

  async commit(signal: AbortSignal): Promise<void> {
    await this.#sweep(signal);
  }

  async abort(): Promise<void> {}

  async close(): Promise<void> {}
}
