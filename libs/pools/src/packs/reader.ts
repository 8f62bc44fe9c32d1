/**
 * Reads a committed block. Whole chunks come through shared windows and are checked against the manifest; small reads fetch and decode
 * only the frames that they touch, each checked by its CRC32C.
 */
import { crc32c } from '@node-rs/crc32';
import type { ChunkWorkers } from '@openservice/codec';
import { chunkCount, chunkLength, OpenServiceError, PermanentError } from '@openservice/domain';
import { type Backend, ObjectNotFoundError, type Range } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { orAborted } from '../gate.ts';
import { DIGEST_BYTES, HOLE_DIGEST, isHole } from '../manifest.ts';
import type { BlockReader, ChunkRange, StoredChunk } from '../pool.ts';
import type { PoolKeys } from '../sealed/keys.ts';
import { sealOf } from './chunk-seal.ts';
import { packKey, repairKey } from './keys.ts';
import type { PackedManifest } from './packed-manifest.ts';
import {
  FRAME_BYTES,
  type FrameTable,
  longestRecordBytes,
  RECORD_HEAD_BYTES,
  type RecordHead,
  readFrameTable,
  readNonce,
  readRecordHead,
  recordPrefixBytes,
} from './record.ts';
import { type Place, SEGMENT_CHUNKS, segmentLength } from './segment.ts';
import { SegmentCache } from './segment-cache.ts';
import { Windows } from './windows.ts';

/** What is looked ahead to fill a window, and how far ahead the next window is started: so many raw bytes, and so many chunks. */
const LOOK_AHEAD_BYTES = 4 * 1024 * 1024;
const [LEAST_AHEAD, MOST_AHEAD] = [12, 64];
/** Record headers kept for small reads of large records. */
const HEADS_KEPT = 4096;
/** A record of no more is read whole for a part of it: that is one read instead of two, and less than a disk or a network notices. */
const READ_WHOLE_BYTES = 192 * 1024;

interface Head {
  head: RecordHead;
  table: FrameTable;
  nonce: Buffer | null;
}

export interface ReaderParts {
  backend: Backend;
  workers: ChunkWorkers;
  /** Null: not encrypted. */
  keys: PoolKeys | null;
}

export class PacksReader implements BlockReader {
  readonly size: number;
  readonly chunkSize: number;
  readonly rootDigest: Buffer;
  readonly #backend: Backend;
  readonly #workers: ChunkWorkers;
  readonly #keys: PoolKeys | null;
  readonly #blockId: string;
  readonly #chunks: number;
  readonly #stop = new AbortController();
  readonly #segments: SegmentCache;
  readonly #windows: Windows;
  readonly #heads = new Map<number, Head>();
  readonly #lookAhead: number;
  #last = -1;

  constructor({ backend, workers, keys }: ReaderParts, block: { id: string; fence: number; manifest: PackedManifest }) {
    this.size = block.manifest.size;
    this.chunkSize = block.manifest.chunkSize;
    this.rootDigest = block.manifest.rootDigest;
    this.#backend = backend;
    this.#workers = workers;
    this.#keys = keys;
    this.#blockId = block.id;
    this.#chunks = chunkCount(this.size, this.chunkSize);
    this.#segments = new SegmentCache(backend, block.id, block.fence, block.manifest, this.#stop.signal);
    this.#windows = new Windows(backend, this.#stop.signal);
    this.#lookAhead = Math.max(LEAST_AHEAD, Math.min(MOST_AHEAD, Math.floor(LOOK_AHEAD_BYTES / this.chunkSize)));
  }

  async *extents(from: number, signal: AbortSignal): AsyncIterable<ChunkRange> {
    let open: ChunkRange | null = null;
    for (let index = from; index < this.#chunks; ) {
      throwIfCancelled(signal);
      const segment = Math.floor(index / SEGMENT_CHUNKS);
      const base = segment * SEGMENT_CHUNKS;
      const end = base + segmentLength(segment, this.#chunks);
      const digests = this.#segments.isHole(segment) ? null : (await orAborted(this.#segments.get(segment), signal)).digests;
      for (; index < end; index++) {
        const data =
          digests !== null && !isHole(digests.subarray((index - base) * DIGEST_BYTES, (index - base + 1) * DIGEST_BYTES));
        if (data && open !== null) open.count++;
        else if (data) open = { first: index, count: 1 };
        else {
          if (open !== null) yield open;
          open = null;
          if (digests === null) index = end - 1;
        }
      }
      // Told before the next segment is fetched: who looks at one place of a large disk waits for no other.
      if (open !== null) yield open;
      open = null;
    }
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    throwIfCancelled(signal);
    const found = await orAborted(this.#find(index), signal);
    if (found === null) {
      target.fill(0, 0, chunkLength(this.size, this.chunkSize, index));
      return HOLE_DIGEST;
    }
    const { digest, place } = found;
    try {
      await this.#record(index, place, signal, (record) => this.#decode(record, index, digest, target));
    } catch (error) {
      const record = await this.#repaired(error, place, signal);
      if (record === null) throw this.#named(error, index, place);
      try {
        await this.#decode(record, index, digest, target);
      } catch (again) {
        throw this.#named(again, index, place);
      }
    }
    return digest;
  }

  async knownDigest(index: number, signal: AbortSignal): Promise<Buffer> {
    throwIfCancelled(signal);
    return (await orAborted(this.#find(index), signal))?.digest ?? HOLE_DIGEST;
  }

  async readStored(index: number, signal: AbortSignal): Promise<StoredChunk | null> {
    if (this.#keys !== null) return null;
    throwIfCancelled(signal);
    const found = await orAborted(this.#find(index), signal);
    if (found === null) return null;
    const { digest, place } = found;
    try {
      return await this.#record(index, place, signal, async (record) => storedChunk(Buffer.from(record), digest));
    } catch (error) {
      const record = await this.#repaired(error, place, signal);
      if (record === null) throw this.#named(error, index, place);
      return storedChunk(record, digest);
    }
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new PermanentError(
        'out_of_range',
        `Block ${this.#blockId} has ${this.size} bytes; ${length} from ${offset} on are not all there.`,
      );
    }
    const out = Buffer.allocUnsafe(length);
    await this.readInto(offset, out, signal);
    return out;
  }

  async readInto(offset: number, target: Buffer, signal: AbortSignal): Promise<void> {
    const parts: Promise<void>[] = [];
    for (let done = 0; done < target.length; ) {
      const index = Math.floor((offset + done) / this.chunkSize);
      const inside = offset + done - index * this.chunkSize;
      const count = Math.min(target.length - done, this.chunkSize - inside);
      parts.push(this.#readPart(index, inside, target.subarray(done, done + count), signal));
      done += count;
    }
    // All of them have ended before `target` is the caller's again.
    for (const outcome of await Promise.allSettled(parts)) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async close(): Promise<void> {
    this.#stop.abort();
  }

  async #readPart(index: number, inside: number, into: Buffer, signal: AbortSignal): Promise<void> {
    const whole = chunkLength(this.size, this.chunkSize, index);
    if (into.length === whole) {
      await this.readChunk(index, into, signal);
      return;
    }
    throwIfCancelled(signal);
    const found = await orAborted(this.#find(index), signal);
    if (found === null) {
      into.fill(0);
      return;
    }
    const { place } = found;
    try {
      if (place.length <= READ_WHOLE_BYTES) {
        await this.#record(index, place, signal, (record) => {
          const head = this.#checkedHead(record, index, place);
          return this.#decodePart(head, inside, into, async ({ offset, length }) => record.subarray(offset, offset + length));
        });
      } else {
        const head = await this.#head(index, place, signal);
        await this.#decodePart(head, inside, into, ({ offset, length }) =>
          this.#backend.get(packKey(place.pack), { offset: place.offset + offset, length }, signal),
        );
      }
    } catch (error) {
      if (!isDamage(error) && !isShort(error)) throw error;
      // Whole, a repaired record is found, and what is wrong is named.
      const chunk = Buffer.allocUnsafe(whole);
      await this.readChunk(index, chunk, signal);
      chunk.copy(into, 0, inside, inside + into.length);
    }
  }

  /** `fetch`: bytes of the record. */
  async #decodePart(
    { head, table, nonce }: Head,
    inside: number,
    into: Buffer,
    fetch: (range: Range) => Promise<Buffer>,
  ): Promise<void> {
    const first = Math.floor(inside / head.frameSize);
    const last = Math.floor((inside + into.length - 1) / head.frameSize);
    let offset = recordPrefixBytes(head.frameCount, head.sealed);
    for (let i = 0; i < first; i++) offset += table.frames[i]!;
    const frames = table.frames.slice(first, last + 1);
    const length = frames.reduce((sum, frame) => sum + frame, 0);
    const bytes = await fetch({ offset, length });
    const rawStart = first * head.frameSize;
    const rawLength = Math.min(head.rawLength, (last + 1) * head.frameSize) - rawStart;
    // Whole frames go where they belong at once.
    const fits = inside === rawStart && into.length === rawLength;
    const plain = fits ? into : Buffer.allocUnsafe(rawLength);
    const seal = sealOf(this.#keys, head.id, nonce, first);
    const crcs = table.crcs.slice(first, last + 1);
    const { codec, frameSize } = head;
    await this.#workers.decode(bytes, plain, { codec, frames, crcs, frameSize, rawLength, part: true, ...seal });
    if (!fits) plain.copy(into, 0, inside - rawStart, inside - rawStart + into.length);
  }

  /** The head of a whole record, whose lengths are what the manifest says. */
  #checkedHead(record: Buffer, index: number, place: Place): Head {
    const parsed = parseHead(record);
    const { head } = parsed;
    const whole = recordPrefixBytes(head.frameCount, head.sealed) + head.payloadLength;
    if (head.rawLength !== chunkLength(this.size, this.chunkSize, index) || whole !== place.length)
      throw new PermanentError('damaged_chunk', 'its record has another length than the manifest says');
    return parsed;
  }

  async #head(index: number, place: Place, signal: AbortSignal): Promise<Head> {
    const kept = this.#heads.get(index);
    if (kept !== undefined) return kept;
    const frames = Math.ceil(chunkLength(this.size, this.chunkSize, index) / FRAME_BYTES);
    const guess = Math.min(place.length, recordPrefixBytes(frames, this.#keys !== null));
    const range = { offset: place.offset, length: guess };
    let bytes = await this.#backend.get(packKey(place.pack), range, signal);
    const found = readRecordHead(bytes);
    const needed = recordPrefixBytes(found.frameCount, found.sealed);
    const rawLength = chunkLength(this.size, this.chunkSize, index);
    // Lengths of a head are what the pool says; memory is taken by what the manifest says.
    if (found.rawLength !== rawLength || needed + found.payloadLength !== place.length)
      throw new PermanentError('damaged_chunk', 'its record has another length than the manifest says');
    if (needed > bytes.length) bytes = await this.#backend.get(packKey(place.pack), { ...range, length: needed }, signal);
    const parsed = parseHead(bytes);
    this.#heads.set(index, parsed);
    if (this.#heads.size > HEADS_KEPT) this.#heads.delete(this.#heads.keys().next().value!);
    return parsed;
  }

  /** Runs `work` with the record of chunk `index`, which is good only until then. */
  async #record<T>(index: number, place: Place, signal: AbortSignal, work: (record: Buffer) => Promise<T>): Promise<T> {
    const ahead = this.#lookAhead;
    const sequential = Math.abs(index - this.#last) <= ahead * 2;
    this.#last = index;
    const wanted = sequential ? await orAborted(this.#placesFrom(index, ahead), signal) : [];
    const done = this.#windows.use(place, wanted, signal, work);
    if (sequential) void this.#readAhead(index + ahead).catch(() => {});
    return done;
  }

  /** Starts the window that chunk `index` lies in; what fails here fails again where it is asked for. */
  async #readAhead(index: number): Promise<void> {
    const [place, ...rest] = await this.#placesFrom(index, this.#lookAhead);
    if (place !== undefined) this.#windows.ensure(place, rest);
  }

  /** Places of the chunks from `index` on, holes left out, not beyond its segment. */
  async #placesFrom(index: number, count: number): Promise<Place[]> {
    const segment = Math.floor(index / SEGMENT_CHUNKS);
    if (index >= this.#chunks || this.#segments.isHole(segment)) return [];
    const { locations } = await this.#segments.get(segment);
    const places: Place[] = [];
    const first = index % SEGMENT_CHUNKS;
    for (let at = first; at < Math.min(first + count, locations.chunks); at++) {
      const place = locations.get(at);
      if (place !== null) places.push(place);
    }
    return places;
  }

  async #find(index: number): Promise<{ digest: Buffer; place: Place } | null> {
    if (index < 0 || index >= this.#chunks)
      throw new PermanentError('out_of_range', `Block ${this.#blockId} has no chunk ${index}.`);
    const segment = Math.floor(index / SEGMENT_CHUNKS);
    if (this.#segments.isHole(segment)) return null;
    const { digests, locations } = await this.#segments.get(segment);
    const at = index % SEGMENT_CHUNKS;
    const digest = digests.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES);
    if (isHole(digest)) return null;
    const place = locations.get(at);
    if (place === null)
      throw new PermanentError('damaged_manifest', `The manifest of block ${this.#blockId} has no place for chunk ${index}.`);
    if (place.length > longestRecordBytes(this.chunkSize)) {
      throw new PermanentError(
        'damaged_manifest',
        `The manifest of block ${this.#blockId} has ${place.length} bytes for chunk ${index}, more than any record of it.`,
      );
    }
    return { digest, place };
  }

  async #decode(record: Buffer, index: number, digest: Buffer, target: Buffer): Promise<void> {
    const { head, table, nonce } = parseHead(record);
    const start = recordPrefixBytes(head.frameCount, head.sealed);
    const seal = sealOf(this.#keys, head.id, nonce, 0);
    const layout = { codec: head.codec, ...table, frameSize: head.frameSize, rawLength: head.rawLength, ...seal };
    if (head.rawLength !== chunkLength(this.size, this.chunkSize, index) || record.length !== start + head.payloadLength) {
      throw new PermanentError('damaged_chunk', 'its record has another length than the manifest says');
    }
    const plain = await this.#workers.decode(record.subarray(start), target, layout);
    if (!plain.equals(digest)) throw new PermanentError('damaged_chunk', 'its digest differs from the manifest');
  }

  /** After `error`: the record that was put for the damaged place, or the place itself read alone where its neighbours are gone. */
  async #repaired(error: unknown, place: Place, signal: AbortSignal): Promise<Buffer | null> {
    if (!isDamage(error) && !isShort(error)) return null;
    try {
      return await this.#backend.get(repairKey(place.pack, place.offset), null, signal);
    } catch (missing) {
      if (!(missing instanceof ObjectNotFoundError)) throw missing;
    }
    if (!isShort(error)) return null;
    // The pack was cut: what lies before the cut is good.
    const size = await this.#backend.head(packKey(place.pack), signal);
    if (size === null || size < place.offset + place.length) return null;
    return this.#backend.get(packKey(place.pack), { offset: place.offset, length: place.length }, signal);
  }

  #named(error: unknown, index: number, place: Place): unknown {
    if (!isDamage(error) && !isShort(error)) return error;
    const why =
      error instanceof ObjectNotFoundError
        ? 'the pack is gone'
        : isShort(error)
          ? 'the pack was cut off'
          : (error as Error).message;
    return new PermanentError(
      'damaged_chunk',
      `Chunk ${index} of block ${this.#blockId} in pack ${place.pack} of the ${this.#backend.name} is damaged: ${why}`,
      { cause: error },
    );
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof ObjectNotFoundError || (error instanceof OpenServiceError && error.code === 'damaged_chunk');
}

/** An object that ends before its index says: every try of the backend found it so. */
function isShort(error: unknown): boolean {
  return error instanceof OpenServiceError && error.code === 'short_read';
}

/** Its frames checked by their CRCs; the digest is for who takes it to check. */
function storedChunk(record: Buffer, digest: Buffer): StoredChunk {
  const { head, table } = parseHead(record);
  const bytes = record.subarray(recordPrefixBytes(head.frameCount, head.sealed));
  if (bytes.length !== head.payloadLength)
    throw new PermanentError('damaged_chunk', 'its record has another length than its head says');
  let at = 0;
  table.frames.forEach((length, i) => {
    if (crc32c(bytes.subarray(at, at + length)) !== table.crcs[i])
      throw new PermanentError('damaged_chunk', `frame ${i} of its record fails its CRC32C`);
    at += length;
  });
  const { codec, frameSize, rawLength } = head;
  return { digest, codec, frameSize, rawLength, frames: table.frames, crcs: table.crcs, bytes };
}

function parseHead(bytes: Buffer): Head {
  const head = readRecordHead(bytes);
  if (bytes.length < Math.max(RECORD_HEAD_BYTES, recordPrefixBytes(head.frameCount, head.sealed))) {
    throw new PermanentError('damaged_chunk', 'its record is too short');
  }
  return { head, table: readFrameTable(bytes, head), nonce: readNonce(bytes, head) };
}
