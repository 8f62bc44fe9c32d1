/**
 * Reads a committed block. Whole chunks come through shared windows and are checked against the manifest; small reads fetch and decode
 * only the frames that they touch, each checked by its CRC32C.
 */
import type { ChunkWorkers } from '@openservice/codec';
import { chunkCount, chunkLength, OpenServiceError, PermanentError } from '@openservice/domain';
import { type Backend, ObjectNotFoundError } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { DIGEST_BYTES, HOLE_DIGEST, isHole } from '../manifest.ts';
import type { BlockReader, ChunkRange } from '../pool.ts';
import { orAborted } from './gate.ts';
import { packKey } from './keys.ts';
import type { PackedManifest } from './packed-manifest.ts';
import {
  type FrameTable,
  RECORD_HEAD_BYTES,
  type RecordHead,
  readFrameTable,
  readRecordHead,
  recordPrefixBytes,
} from './record.ts';
import { type Place, SEGMENT_CHUNKS, segmentLength } from './segment.ts';
import { SegmentCache } from './segment-cache.ts';
import { Windows } from './windows.ts';

/** Chunks looked ahead to fill a window; and how far ahead the next window is started. */
const LOOK_AHEAD = 12;
/** Record headers kept for small reads. */
const HEADS_KEPT = 1024;

interface Head {
  head: RecordHead;
  table: FrameTable;
}

export class PacksReader implements BlockReader {
  readonly size: number;
  readonly chunkSize: number;
  readonly rootDigest: Buffer;
  readonly #backend: Backend;
  readonly #workers: ChunkWorkers;
  readonly #blockId: string;
  readonly #chunks: number;
  readonly #stop = new AbortController();
  readonly #segments: SegmentCache;
  readonly #windows: Windows;
  readonly #heads = new Map<number, Head>();
  #last = -1;

  constructor(backend: Backend, workers: ChunkWorkers, block: { id: string; fence: number; manifest: PackedManifest }) {
    this.size = block.manifest.size;
    this.chunkSize = block.manifest.chunkSize;
    this.rootDigest = block.manifest.rootDigest;
    this.#backend = backend;
    this.#workers = workers;
    this.#blockId = block.id;
    this.#chunks = chunkCount(this.size, this.chunkSize);
    this.#segments = new SegmentCache(backend, block.id, block.fence, block.manifest, this.#stop.signal);
    this.#windows = new Windows(backend, this.#stop.signal);
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
    }
    if (open !== null) yield open;
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
      const record = await orAborted(this.#record(index, place), signal);
      const { head, table } = parseHead(record);
      const start = recordPrefixBytes(head.frameCount);
      const layout = { codec: head.codec, ...table, frameSize: head.frameSize, rawLength: head.rawLength };
      if (head.rawLength !== chunkLength(this.size, this.chunkSize, index) || record.length !== start + head.payloadLength) {
        throw new PermanentError('damaged_chunk', 'its record has another length than the manifest says');
      }
      const plain = await this.#workers.decode(record.subarray(start), target, layout);
      if (!plain.equals(digest)) throw new PermanentError('damaged_chunk', 'its digest differs from the manifest');
      return plain;
    } catch (error) {
      throw this.#named(error, index, place);
    }
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new PermanentError(
        'out_of_range',
        `Block ${this.#blockId} has ${this.size} bytes; ${length} from ${offset} on are not all there.`,
      );
    }
    const out = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const index = Math.floor((offset + done) / this.chunkSize);
      const inside = offset + done - index * this.chunkSize;
      const count = Math.min(length - done, this.chunkSize - inside);
      await this.#readPart(index, inside, out.subarray(done, done + count), signal);
      done += count;
    }
    return out;
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
    if (found === null) return;
    try {
      const { head, table } = await this.#head(index, found.place, signal);
      const first = Math.floor(inside / head.frameSize);
      const last = Math.floor((inside + into.length - 1) / head.frameSize);
      let skipped = recordPrefixBytes(head.frameCount);
      for (let i = 0; i < first; i++) skipped += table.frames[i]!;
      const frames = table.frames.slice(first, last + 1);
      const stored = frames.reduce((sum, frame) => sum + frame, 0);
      const bytes = await this.#backend.get(
        packKey(found.place.pack),
        { offset: found.place.offset + skipped, length: stored },
        signal,
      );
      const rawStart = first * head.frameSize;
      const rawLength = Math.min(head.rawLength, (last + 1) * head.frameSize) - rawStart;
      const plain = Buffer.allocUnsafe(rawLength);
      const layout = { codec: head.codec, frames, crcs: table.crcs.slice(first, last + 1), frameSize: head.frameSize, rawLength };
      await this.#workers.decode(bytes, plain, layout);
      plain.copy(into, 0, inside - rawStart, inside - rawStart + into.length);
    } catch (error) {
      throw this.#named(error, index, found.place);
    }
  }

  async #head(index: number, place: Place, signal: AbortSignal): Promise<Head> {
    const kept = this.#heads.get(index);
    if (kept !== undefined) return kept;
    const frames = Math.ceil(chunkLength(this.size, this.chunkSize, index) / (128 * 1024));
    const guess = Math.min(place.length, recordPrefixBytes(frames));
    const range = { offset: place.offset, length: guess };
    let bytes = await this.#backend.get(packKey(place.pack), range, signal);
    const needed = recordPrefixBytes(readRecordHead(bytes).frameCount);
    if (needed > bytes.length) bytes = await this.#backend.get(packKey(place.pack), { ...range, length: needed }, signal);
    const parsed = parseHead(bytes);
    this.#heads.set(index, parsed);
    if (this.#heads.size > HEADS_KEPT) this.#heads.delete(this.#heads.keys().next().value!);
    return parsed;
  }

  async #record(index: number, place: Place): Promise<Buffer> {
    const sequential = Math.abs(index - this.#last) <= LOOK_AHEAD * 2;
    this.#last = index;
    const record = this.#windows.read(place, sequential ? await this.#placesFrom(index, LOOK_AHEAD) : []);
    if (sequential) void this.#readAhead(index + LOOK_AHEAD).catch(() => {});
    return record;
  }

  /** Starts the window that chunk `index` lies in; what fails here fails again where it is asked for. */
  async #readAhead(index: number): Promise<void> {
    const [place, ...rest] = await this.#placesFrom(index, LOOK_AHEAD);
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
    return { digest, place };
  }

  #named(error: unknown, index: number, place: Place): unknown {
    const damaged = error instanceof ObjectNotFoundError || (error instanceof OpenServiceError && error.code === 'damaged_chunk');
    if (!damaged) return error;
    const why = error instanceof ObjectNotFoundError ? 'the pack is gone' : error.message;
    return new PermanentError(
      'damaged_chunk',
      `Chunk ${index} of block ${this.#blockId} in pack ${place.pack} of the ${this.#backend.name} is damaged: ${why}`,
      { cause: error },
    );
  }
}

function parseHead(bytes: Buffer): Head {
  const head = readRecordHead(bytes);
  if (bytes.length < Math.max(RECORD_HEAD_BYTES, recordPrefixBytes(head.frameCount))) {
    throw new PermanentError('damaged_chunk', 'its record is too short');
  }
  return { head, table: readFrameTable(bytes, head) };
}
