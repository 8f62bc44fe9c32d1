/**
 * Writes a block into packs. put() compresses and appends to the open pack; full packs go off in the background; each durable pack gets
 * a session record; a segment whose chunks are all durable is written and forgotten. prepare() adds the manifest, commit() the ledger's entry.
 */
import { type ChunkWorkers, type EncodedChunk, sharedBuffer } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { Gate, orAborted } from '../gate.ts';
import { DIGEST_BYTES, isHole, RootHasher } from '../manifest.ts';
import type { BlockWriter, Prepared, StoredChunk, WriteSession } from '../pool.ts';
import type { PoolKeys } from '../sealed/keys.ts';
import { newSeal } from './chunk-seal.ts';
import type { CollectionView } from './gc/collection-view.ts';
import { manifestKey, sharedKey } from './keys.ts';
import { encodePackedManifest, SEGMENT_ENTRY_BYTES } from './packed-manifest.ts';
import type { PoolChunks } from './pool-chunks.ts';
import { chunkId } from './pool-mark.ts';
import type { PackPlace } from './recent-chunks.ts';
import { FRAME_BYTES, longestRecordBytes, maxRecordBytes, recordPrefixBytes, ZSTD_LEVEL } from './record.ts';
import { HASH_BYTES, hashOf, type LiveSegment, makeSegment, openSegment, segmentLength } from './segment.ts';
import type { OpenPack, Uploads } from './uploads.ts';
import type { WriterState } from './writer-state.ts';

/** Chunks being compressed at once, each with a buffer of a chunk: so many bytes, but neither too few chunks nor very many. */
const ENCODING_BYTES = 6 * 1024 * 1024;
const MOST_ENCODING = 24;

export interface WriterEnds {
  /** FencedError once a newer attempt owns the block. */
  check(signal: AbortSignal): Promise<void>;
  /** Ledger: committed, or FencedError; then the pool's index, and the records go. */
  commit(signal: AbortSignal): Promise<void>;
  /** Ledger: removed, or FencedError; then everything of this session is removed. */
  abort(signal: AbortSignal): Promise<void>;
}

export interface WriterParts {
  backend: Backend;
  workers: ChunkWorkers;
  digestKey: Buffer;
  /** Null: not encrypted. */
  keys: PoolKeys | null;
  session: WriteSession;
  state: WriterState;
  uploads: Uploads;
  /** What others stored. */
  pool: PoolChunks;
  view: CollectionView;
  stop: AbortController;
  ends: WriterEnds;
}

export class PacksWriter implements BlockWriter {
  readonly #parts: WriterParts;
  readonly #state: WriterState;
  readonly #uploads: Uploads;
  readonly #encoding: Gate;
  readonly #outs: Buffer[] = [];
  readonly #puts = new Set<Promise<void>>();
  readonly #root: RootHasher;
  /** Ids of digests that were asked for and not found: the put that follows need not look again. */
  readonly #missed = new WeakMap<Buffer, Buffer>();
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
    const encoding = Math.max(6, Math.min(MOST_ENCODING, Math.floor(ENCODING_BYTES / parts.session.chunkSize)));
    this.#encoding = new Gate(() => encoding);
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
    return await Promise.all(
      digests.map(async (digest) => {
        if (isHole(digest)) return false;
        const id = this.#id(digest);
        const missing = (this.#known(id) ?? (await this.#find(id))) === null;
        if (missing) this.#missed.set(digest, id);
        return missing;
      }),
    );
  }

  async put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    await this.#counted(signal, () => this.#put(index, digest, bytes, signal));
  }

  /** As it comes, but into a sealed pool: there it is made anew from its bytes. */
  async putStored(index: number, chunk: StoredChunk, signal: AbortSignal): Promise<void> {
    if (this.#parts.keys === null) return this.#counted(signal, () => this.#putStored(index, chunk, signal));
    const plain = Buffer.allocUnsafe(chunk.rawLength);
    const digest = await this.#parts.workers.decode(chunk.bytes, plain, chunk);
    if (!digest.equals(chunk.digest))
      throw new PermanentError('damaged_chunk', `Chunk ${index} came with bytes of another digest than its own.`);
    await this.put(index, digest, plain, signal);
  }

  async #counted(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    throwIfCancelled(signal);
    this.#uploads.throwFailure();
    const put = work();
    const settled = put.catch(() => {}).finally(() => this.#puts.delete(settled));
    this.#puts.add(settled);
    await put;
  }

  hole(first: number, count: number): void {
    this.#state.hole(first, count);
  }

  async checkpoint(signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    await this.#agree(signal);
  }

  async prepare(signal: AbortSignal): Promise<Prepared> {
    throwIfCancelled(signal);
    if (this.#prepared !== null) return this.#prepared;
    await this.#agree(signal);
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

  /** Still the owner; what a new round of collection condemned is not relied on any more, and what was relied on before is durable. */
  async #agree(signal: AbortSignal): Promise<void> {
    const { ends, view, session } = this.#parts;
    await ends.check(signal);
    await view.refresh(signal);
    await orAborted(this.#flush(), signal);
    await view.ack(session.blockId, session.fence, signal);
  }

  /** Where the chunk lies, as far as this session found or wrote it lately; a found pack that was condemned since counts no more. */
  #known(id: Buffer): PackPlace | null {
    const place = this.#state.recent.find(id);
    if (place === null || this.#state.packs.isOwn(place.pack)) return place;
    return this.#parts.view.isVoid(this.#state.packs.name(place.pack)) ? null : place;
  }

  async #find(id: Buffer): Promise<PackPlace | null> {
    const found = await this.#parts.pool.find(id);
    if (found === null) return null;
    const place = { pack: this.#state.packs.found(found.name, found.size), offset: found.offset, length: found.length };
    this.#state.recent.add(id, place);
    return place;
  }

  #id(digest: Buffer): Buffer {
    return chunkId(this.#parts.digestKey, digest);
  }

  async #put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    if (isHole(digest)) return this.hole(index, 1);
    const missed = this.#missed.get(digest);
    const id = missed ?? this.#id(digest);
    if (await this.#placed(index, digest, id, signal, missed === undefined)) return;
    if (bytes.length === 0)
      throw new PermanentError('chunk_bytes_needed', `Chunk ${index} is not in the pool; its bytes are needed.`);
    await this.#inTurn(signal, async (out) => {
      const { nonce, seal } = newSeal(this.#parts.keys, id);
      const chunk = await this.#parts.workers.encode(bytes, out, { frameSize: FRAME_BYTES, level: ZSTD_LEVEL, ...seal });
      this.#append(index, digest, id, chunk, { rawLength: bytes.length, frameSize: FRAME_BYTES }, nonce);
    });
  }

  async #putStored(index: number, chunk: StoredChunk, signal: AbortSignal): Promise<void> {
    const { digest, rawLength, frameSize } = chunk;
    const length = recordPrefixBytes(chunk.frames.length, false) + chunk.bytes.length;
    if (length > longestRecordBytes(this.#parts.session.chunkSize))
      throw new PermanentError('damaged_chunk', `Chunk ${index} came as a record of ${length} bytes, longer than any of it.`);
    const id = this.#id(digest);
    if (await this.#placed(index, digest, id, signal, true)) return;
    await this.#inTurn(signal, async (out) => {
      const plain = await this.#parts.workers.decode(chunk.bytes, out, chunk);
      if (!plain.equals(digest))
        throw new PermanentError('damaged_chunk', `Chunk ${index} came with bytes of another digest than its own.`);
      this.#append(index, digest, id, chunk, { rawLength, frameSize }, null);
    });
  }

  /** True when chunk `index` needs no bytes: it was accounted for, or lies in the pool (`look`: also where others stored it). Waits while packs cannot be sent fast enough. */
  async #placed(index: number, digest: Buffer, id: Buffer, signal: AbortSignal, look: boolean): Promise<boolean> {
    if (index < 0 || index >= this.#state.chunks)
      throw new PermanentError('out_of_range', `Block ${this.#parts.session.blockId} has no chunk ${index}.`);
    if (this.#state.accounted.has(index)) return true;
    while (this.#uploads.crowded) {
      await orAborted(this.#uploads.progress(), signal);
      this.#uploads.throwFailure();
    }
    return this.#place(index, digest, this.#known(id) ?? (look ? await this.#find(id) : null));
  }

  /** True: the chunk lies in the pool already, and the block has it now. */
  #place(index: number, digest: Buffer, place: PackPlace | null): boolean {
    if (place === null) return false;
    if (this.#state.accounted.has(index)) return true;
    this.#state.place(index, digest, place);
    this.#uploads.attach(index, place.pack);
    return true;
  }

  /** Few at once, each with a buffer that takes a chunk. */
  async #inTurn(signal: AbortSignal, work: (out: Buffer) => Promise<void>): Promise<void> {
    await this.#encoding.enter(1);
    const { session, keys } = this.#parts;
    const out = this.#outs.pop() ?? sharedBuffer(maxRecordBytes(session.chunkSize, FRAME_BYTES, keys !== null));
    try {
      throwIfCancelled(signal);
      await work(out);
    } finally {
      this.#outs.push(out);
      this.#encoding.leave(1);
    }
    this.#uploads.throwFailure();
  }

  #append(
    index: number,
    digest: Buffer,
    id: Buffer,
    chunk: EncodedChunk,
    raw: { rawLength: number; frameSize: number },
    nonce: Buffer | null,
  ): void {
    if (this.#state.accounted.has(index)) return;
    const sealed = nonce !== null;
    const needed = recordPrefixBytes(chunk.frames.length, sealed) + chunk.bytes.length;
    if (this.#open !== null && !this.#open.builder.fits(needed)) this.#sendOpen();
    const most = maxRecordBytes(this.#parts.session.chunkSize, FRAME_BYTES, sealed);
    this.#open ??= this.#uploads.newPack(Math.max(most, needed));
    const pack = this.#open.builder.number;
    const place = { pack, ...this.#open.builder.append(id, raw.rawLength, raw.frameSize, chunk, nonce) };
    this.#state.recent.add(id, place);
    this.#state.place(index, digest, place);
    this.#uploads.attach(index, pack);
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
    await this.#uploads.settle();
  }

  /** Writes the segments that are finished, one after the other. */
  #seal(): Promise<void> {
    this.#sealing = this.#sealing.then(async () => {
      for (const [segment, live] of this.#state.takeFinished()) await this.#writeSegment(segment, live);
    });
    return this.#sealing;
  }

  async #writeSegment(segment: number, live: LiveSegment): Promise<void> {
    const content = hashOf(live.digests);
    const found = await this.#parts.pool.findSegment(content);
    const names = found ?? (await this.#makeSegments(live));
    this.#uploads.relyOn({ own: found === null, content, ...names });
    const at = segment * SEGMENT_ENTRY_BYTES;
    names.digests.copy(this.#state.hashes, at);
    names.locations.copy(this.#state.hashes, at + HASH_BYTES);
    this.#hashHoleSegments();
    if (segment === this.#nextRoot) this.#hashSegment(live.digests);
  }

  async #makeSegments(live: LiveSegment): Promise<{ digests: Buffer; locations: Buffer }> {
    const locations = live.encodeLocations((pack) => this.#state.packs.name(pack));
    const made = [makeSegment('digests', live.digests), makeSegment('locations', locations)] as const;
    await Promise.all(made.map(({ name, stored }) => this.#uploads.putObject(sharedKey(name), stored)));
    this.#metaBytes += made[0].stored.length + made[1].stored.length;
    return { digests: made[0].name, locations: made[1].name };
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
      const key = sharedKey(hash);
      this.#hashSegment(openSegment('digests', await this.#parts.backend.get(key, null, signal), hash, key));
    }
    const rootDigest = this.#root.digest();
    const storedBytes = this.#state.packs.ownBytes() + this.#metaBytes;
    const segments = this.#state.hashes;
    const manifest = encodePackedManifest({ size, chunkSize, rootDigest, storedBytes, segments, shared: true });
    await this.#uploads.putObject(manifestKey(blockId, fence), manifest);
    return { rootDigest, storedBytes };
  }
}
