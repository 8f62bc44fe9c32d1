/**
 * What a writer knows of its block, in memory that does not grow with the data: two bits a chunk, full detail only for segments that
 * are not finished, 64 bytes for each that is.
 */
import { chunkCount, PermanentError } from '@openservice/domain';
import { Bitmap } from './bitmap.ts';
import { PackTable } from './pack-table.ts';
import { SEGMENT_ENTRY_BYTES } from './packed-manifest.ts';
import { type PackPlace, RecentChunks } from './recent-chunks.ts';
import { LiveSegment, SEGMENT_CHUNKS, segmentLength } from './segment.ts';
import type { SessionEntry, SessionRecord, SessionSegment } from './session-record.ts';

export class WriterState {
  readonly chunks: number;
  readonly segmentCount: number;
  /** Chunks that were put or declared holes. */
  readonly accounted: Bitmap;
  /** Chunks that a durable session record names. */
  readonly durable: Bitmap;
  readonly packs = new PackTable();
  readonly recent: RecentChunks;
  /** The manifest's segment hashes, as far as segments are finished. */
  readonly hashes: Buffer;
  readonly #live = new Map<number, LiveSegment>();
  #holes: number[] = [];

  constructor(size: number, chunkSize: number) {
    this.chunks = chunkCount(size, chunkSize);
    this.segmentCount = Math.ceil(this.chunks / SEGMENT_CHUNKS);
    this.recent = new RecentChunks(this.chunks);
    this.accounted = new Bitmap(this.chunks);
    this.durable = new Bitmap(this.chunks);
    this.hashes = Buffer.alloc(this.segmentCount * SEGMENT_ENTRY_BYTES);
  }

  place(index: number, digest: Buffer, place: PackPlace): void {
    const segment = Math.floor(index / SEGMENT_CHUNKS);
    let live = this.#live.get(segment);
    if (live === undefined) {
      live = new LiveSegment(segmentLength(segment, this.chunks));
      this.#live.set(segment, live);
    }
    live.set(index % SEGMENT_CHUNKS, digest, place.pack, place.offset, place.length);
    this.packs.use(place.pack);
    this.accounted.set(index);
  }

  /** Only what is not accounted for yet becomes a hole. */
  hole(first: number, count: number): void {
    const end = Math.min(first + count, this.chunks);
    let from = this.accounted.firstClear(first, end);
    while (from !== null) {
      const to = this.accounted.firstSet(from, end) ?? end;
      this.#addHole(from, to - from);
      from = this.accounted.firstClear(to, end);
    }
  }

  #addHole(first: number, count: number): void {
    const last = this.#holes.length - 1;
    if (last > 0 && this.#holes[last - 1]! + this.#holes[last]! === first) this.#holes[last]! += count;
    else this.#holes.push(first, count);
    this.accounted.setRange(first, count);
  }

  get hasHoles(): boolean {
    return this.#holes.length > 0;
  }

  takeHoles(): number[] {
    const taken = this.#holes;
    this.#holes = [];
    return taken;
  }

  /** The record that makes these chunks and holes known to the next attempt. */
  recordOf(indexes: readonly number[], holes: number[], pack: number | null, segments: SessionSegment[]): SessionRecord {
    const local = new Map<number, number>();
    const use = (number: number): number => {
      const known = local.get(number) ?? local.size;
      local.set(number, known);
      return known;
    };
    if (pack !== null) use(pack);
    const entries: SessionEntry[] = indexes.map((index) => {
      const found = this.#live.get(Math.floor(index / SEGMENT_CHUNKS))!.get(index % SEGMENT_CHUNKS);
      return { index, digest: found.digest, pack: use(found.pack), offset: found.offset, length: found.length };
    });
    const packs = [...local.keys()].map((number) => {
      return { name: this.packs.name(number), size: this.packs.size(number), own: this.packs.isOwn(number) };
    });
    return { packs, entries, holes, segments };
  }

  markDurable(indexes: readonly number[], holes: readonly number[]): void {
    for (const index of indexes) this.durable.set(index);
    for (let i = 0; i < holes.length; i += 2) this.durable.setRange(holes[i]!, holes[i + 1]!);
  }

  /** Takes over what an earlier attempt recorded; `numbers`: for each of its packs the number here, null for one not to be relied on. */
  replay(record: SessionRecord, numbers: readonly (number | null)[], idOf: (digest: Buffer) => Buffer): void {
    for (const entry of record.entries) {
      const pack = numbers[entry.pack];
      if (pack === null) continue;
      if (pack === undefined || entry.index >= this.chunks)
        throw new PermanentError('damaged_checkpoint', 'A session record contradicts itself.');
      if (this.accounted.has(entry.index)) continue;
      const place = { pack, offset: entry.offset, length: entry.length };
      this.place(entry.index, entry.digest, place);
      this.recent.add(idOf(entry.digest), place);
      this.durable.set(entry.index);
    }
    for (let i = 0; i < record.holes.length; i += 2) {
      this.accounted.setRange(record.holes[i]!, record.holes[i + 1]!);
      this.durable.setRange(record.holes[i]!, record.holes[i + 1]!);
    }
  }

  /**
   * Takes out the segments with data of which every chunk is durable, in ascending order: one that was taken and is not written yet looks
   * like holes to whoever writes a later one.
   */
  takeFinished(): [number, LiveSegment][] {
    const finished = [...this.#live].filter(([segment]) => this.complete(segment)).sort(([a], [b]) => a - b);
    for (const [segment] of finished) this.#live.delete(segment);
    return finished;
  }

  complete(segment: number): boolean {
    return this.durable.full(segment * SEGMENT_CHUNKS, segmentLength(segment, this.chunks));
  }

  isLive(segment: number): boolean {
    return this.#live.has(segment);
  }
}
