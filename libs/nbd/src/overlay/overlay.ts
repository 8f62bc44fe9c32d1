/**
 * A writable disk over a base that is never changed: copy on write. Two files: `data`, sparse, with what was written at the disk's own
 * offsets; and `map`, a journal of which blocks (4 KiB) are whose.
 *
 * What a flush acknowledged survives SIGKILL and a power cut: bytes are synced first, then the changes of the map are appended and synced.
 * A block that the journal does not name is the base's, whatever bytes of a lost write the data file holds there.
 *
 * Invariants that make parallel calls safe:
 * - In the data file a block of state `zero` holds zeros, but for bytes of a write under way; so a write into it need only put its bytes.
 * - The state of a block is set after its bytes are in the file, in one step with looking at what the state is by then: a block that was
 *   zeroed meanwhile becomes `data` (zeros and those bytes), never `partial`, so the base never shines through again.
 * - A block never goes back to `base`, but for all of them at once in `rewind`.
 * - Bytes of the base are put into the data file only while no write is under way.
 */
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import type { BlockDevice, DeviceExtent } from '../device.ts';
import { BLOCK_BYTES, BlockMap, type BlockRun, STATE } from './block-map.ts';
import { DataFile } from './data-file.ts';
import { MapJournal } from './journal.ts';
import { type MapChange, RECORD_BYTES } from './journal-format.ts';
import { PartialBlocks } from './partial-blocks.ts';
import { damaged, holdsData, replay, sizeOf, zeroAgain } from './reopening.ts';
import { inside, span } from './span.ts';
import { Turnstile } from './turnstile.ts';

export interface OverlayLimits {
  /** Blocks of which only a part was written; more are made whole by reading the base. */
  partialBlocks: number;
  /** Changes of the map that wait for a flush; more flush by themselves. */
  pendingChanges: number;
  /** A journal that has grown by more bytes than this, and is longer than four times what it need be, is written anew. */
  journalBytes: number;
}

const LIMITS: OverlayLimits = { partialBlocks: 4096, pendingChanges: 65_536, journalBytes: 4 * 1024 * 1024 };
const COPY_BYTES = 1024 * 1024;

export interface OverlayOptions {
  /** Of this overlay alone; must be there. */
  directory: string;
  /** Read, never written; closed with the overlay, but not where it cannot be opened. */
  base: BlockDevice;
  /** It was made before: where nothing of it is left, `damaged_overlay`. */
  existing?: boolean;
  limits?: Partial<OverlayLimits>;
}

export class Overlay implements BlockDevice {
  readonly size: number;
  readonly readOnly = false;
  readonly #base: BlockDevice;
  readonly #data: DataFile;
  readonly #journal: MapJournal;
  readonly #map: BlockMap;
  readonly #partial: PartialBlocks;
  readonly #limits: OverlayLimits;
  readonly #turnstile = new Turnstile();
  #completing: Promise<void> | null = null;
  #pending: MapChange[] = [];
  #flushing: Promise<void> | null = null;
  #nextFlush: Promise<void> | null = null;
  /** The journal is not written anew before it is so long. */
  #shortenAt: number;
  #broken: unknown = null;
  #closed: Promise<void> | null = null;

  private constructor(
    base: BlockDevice,
    data: DataFile,
    journal: MapJournal,
    map: BlockMap,
    partial: PartialBlocks,
    limits: OverlayLimits,
  ) {
    this.#limits = limits;
    this.#shortenAt = limits.journalBytes;
    this.size = base.size;
    this.#base = base;
    this.#data = data;
    this.#journal = journal;
    this.#map = map;
    this.#partial = partial;
  }

  /** Goes on with what lies in the directory; PermanentError `damaged_overlay`, or the system's. */
  static async open({ directory, base, existing, limits }: OverlayOptions): Promise<Overlay> {
    const [mapPath, dataPath] = [join(directory, 'map'), join(directory, 'data')];
    const [mapBytes, dataBytes] = await Promise.all([sizeOf(mapPath), sizeOf(dataPath)]);
    // Nothing that is gone may pass for nothing that was written: this is looked at before anything is made.
    if (mapBytes === null && (existing === true || dataBytes !== null)) throw damaged(directory, 'its file "map" is gone');
    const map = new BlockMap(Math.ceil(base.size / BLOCK_BYTES));
    const partial = new PartialBlocks();
    const journal = await MapJournal.open(mapPath, base.size, (change) => replay(map, partial, change));
    let data: DataFile | null = null;
    try {
      if (dataBytes !== base.size && holdsData(map))
        throw damaged(directory, dataBytes === null ? 'its file "data" is gone' : 'its file "data" has another size');
      data = await DataFile.open(dataPath, base.size);
      await zeroAgain(data, map, base.size);
      return new Overlay(base, data, journal, map, partial, { ...LIMITS, ...limits });
    } catch (error) {
      await data?.close();
      await journal.close();
      throw error;
    }
  }

  /** Bytes of room that the overlay takes. */
  async storedBytes(): Promise<number> {
    return (await this.#data.storedBytes()) + this.#journal.length;
  }

  /** Bytes of the disk that are not the base's. */
  get changedBytes(): number {
    let sum = 0;
    for (const { length } of this.changed()) sum += length;
    return sum;
  }

  /** Everything that was written over the base is written over `below` too, durably. Nobody may write meanwhile; repeated, it comes out the same. */
  async mergeInto(below: BlockDevice): Promise<void> {
    for (const run of this.#map.touched()) {
      const [offset, length] = span(run, this.size);
      if (run.state === STATE.zero) await below.zero(offset, length, { hole: true, fua: false });
      else if (run.state === STATE.data) await this.#copy(below, offset, length);
      else for (let block = run.first; block < run.first + run.count; block++) await this.#copyPart(below, block);
    }
    await below.flush();
  }

  /** Ranges that differ, or may, from the base; ascending, whole blocks. */
  *changed(): Generator<{ offset: number; length: number }> {
    let open: { offset: number; length: number } | null = null;
    for (const run of this.#map.touched()) {
      const [offset, length] = span(run, this.size);
      if (open !== null && open.offset + open.length === offset) open.length += length;
      else {
        if (open !== null) yield open;
        open = { offset, length };
      }
    }
    if (open !== null) yield open;
  }

  readNow(offset: number, target: Buffer): boolean {
    const end = offset + target.length;
    const block = Math.floor(offset / BLOCK_BYTES);
    if (end <= (block + 1) * BLOCK_BYTES) return this.#readBlockNow(block, offset, target);
    for (const run of this.#runs(offset, end)) {
      const [from, to] = inside(run, offset, end);
      const part = target.subarray(from - offset, to - offset);
      if (run.state === STATE.zero) part.fill(0);
      else if (run.state === STATE.data) {
        if (!this.#data.readNow(part, from)) return false;
      } else if (run.state === STATE.partial || !this.#base.readNow(from, part)) return false;
    }
    return true;
  }

  #readBlockNow(block: number, offset: number, target: Buffer): boolean {
    const state = this.#map.get(block);
    if (state === STATE.base) return this.#base.readNow(offset, target);
    if (state === STATE.data) return this.#data.readNow(target, offset);
    if (state === STATE.zero) target.fill(0);
    return state === STATE.zero;
  }

  async read(offset: number, target: Buffer): Promise<void> {
    const end = offset + target.length;
    const parts: Promise<void>[] = [];
    for (const run of this.#runs(offset, end)) {
      const [from, to] = inside(run, offset, end);
      const part = target.subarray(from - offset, to - offset);
      if (run.state === STATE.zero) part.fill(0);
      else if (run.state === STATE.data) parts.push(this.#data.read(part, from));
      else if (run.state === STATE.base) parts.push(this.#base.read(from, part));
      else parts.push(this.#readPartial(from, part));
    }
    if (parts.length === 1) await parts[0];
    else if (parts.length > 1) await settled(parts);
  }

  async write(offset: number, bytes: Buffer, fua: boolean): Promise<void> {
    this.#mustBeOpen();
    if (this.#partial.count >= this.#limits.partialBlocks) await this.#completed();
    await this.#turnstile.pass(() => this.#put(offset, bytes));
    if (fua || this.#pending.length >= this.#limits.pendingChanges) await this.#flushed();
  }

  writeNow(offset: number, bytes: Buffer): boolean {
    if (this.#broken !== null || this.#closed !== null || !this.#turnstile.isOpen) return false;
    if (this.#partial.count >= this.#limits.partialBlocks || this.#pending.length >= this.#limits.pendingChanges) return false;
    if (!this.#data.writeNow(bytes, offset)) return false;
    this.#wrote(offset, offset + bytes.length);
    return true;
  }

  async zero(offset: number, length: number, { fua }: { hole: boolean; fua: boolean }): Promise<void> {
    this.#mustBeOpen();
    const end = offset + length;
    const first = Math.ceil(offset / BLOCK_BYTES);
    // The disk's last block may be short.
    const last = end === this.size ? Math.ceil(end / BLOCK_BYTES) : Math.floor(end / BLOCK_BYTES);
    await this.#turnstile.pass(async () => {
      if (last <= first) {
        await this.#put(offset, Buffer.alloc(length));
        return;
      }
      const [start, stop] = [first * BLOCK_BYTES, Math.min(last * BLOCK_BYTES, this.size)];
      if (start > offset) await this.#put(offset, Buffer.alloc(start - offset));
      if (end > stop) await this.#put(stop, Buffer.alloc(end - stop));
      // The state first: from here on nothing of the base shows, whatever becomes of the rest.
      this.#set(first, last - first, STATE.zero);
      await this.#data.zero(start, stop - start);
    });
    if (fua) await this.#flushed();
  }

  async flush(): Promise<void> {
    this.#mustBeOpen();
    await this.#flushed();
  }

  async extents(offset: number, length: number, most: number): Promise<DeviceExtent[]> {
    const end = offset + length;
    const found: DeviceExtent[] = [];
    const add = (count: number, zero: boolean, hole: boolean): boolean => {
      const last = found.at(-1);
      if (last !== undefined && last.zero === zero && last.hole === hole) last.length += count;
      else if (found.length === most) return false;
      else found.push({ length: count, zero, hole });
      return true;
    };
    for (const run of this.#runs(offset, end)) {
      const [from, to] = inside(run, offset, end);
      if (run.state === STATE.base) {
        let at = from;
        for (const extent of await this.#base.extents(from, to - from, most)) {
          if (!add(extent.length, extent.zero, extent.hole)) return found;
          at += extent.length;
        }
        // The base told of a part only; the client asks on from there.
        if (at < to) return found;
      } else if (!add(to - from, run.state === STATE.zero, run.state === STATE.zero)) return found;
    }
    return found;
  }

  prefetch(offset: number, length: number): void {
    const end = offset + length;
    for (const run of this.#runs(offset, end)) {
      if (run.state !== STATE.base && run.state !== STATE.partial) continue;
      const [from, to] = inside(run, offset, end);
      this.#base.prefetch(from, to - from);
    }
  }

  /** Everything that was written is forgotten; durable once it resolves. What is read meanwhile comes out either way. */
  async rewind(): Promise<void> {
    this.#mustBeOpen();
    await this.#turnstile.alone(async () => {
      while (this.#flushing !== null) await this.#flushing.catch(() => undefined);
      await this.#asFlush(async () => {
        await this.#journal.rewrite([]);
        this.#pending = [];
        this.#map.clear();
        this.#partial.clear();
        await this.#data.clear();
      });
    });
  }

  /** Ends what is under way, and takes nothing more. All is closed even where the last flush fails; that error is thrown. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      const outcomes: PromiseSettledResult<unknown>[] = [];
      if (this.#broken === null)
        outcomes.push(...(await Promise.allSettled([this.#turnstile.alone(async () => undefined).then(() => this.#flushed())])));
      // Those of writes that have just ended.
      while (this.#flushing !== null) await (this.#nextFlush ?? this.#flushing).catch(() => undefined);
      outcomes.push(...(await Promise.allSettled([this.#data.close(), this.#journal.close(), this.#base.close()])));
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    })();
    return this.#closed;
  }

  async #copy(below: BlockDevice, offset: number, length: number): Promise<void> {
    for (let done = 0; done < length; done += COPY_BYTES) {
      const bytes = Buffer.allocUnsafeSlow(Math.min(COPY_BYTES, length - done));
      await this.#data.read(bytes, offset + done);
      await below.write(offset + done, bytes, false);
    }
  }

  async #copyPart(below: BlockDevice, block: number): Promise<void> {
    for (const { from, to } of this.#partial.of(block)) {
      const start = block * BLOCK_BYTES;
      await this.#copy(below, start + from, Math.min(start + to, this.size) - start - from);
    }
  }

  async #put(offset: number, bytes: Buffer): Promise<void> {
    await this.#data.write(bytes, offset);
    this.#wrote(offset, offset + bytes.length);
  }

  /** Bytes `offset` … `end - 1` are in the data file. */
  #wrote(offset: number, end: number): void {
    const first = Math.ceil(offset / BLOCK_BYTES);
    const last = end === this.size ? Math.ceil(end / BLOCK_BYTES) : Math.floor(end / BLOCK_BYTES);
    if (last > first) this.#set(first, last - first, STATE.data);
    if (last < first) this.#wrotePart(last, offset, end);
    else {
      if (first * BLOCK_BYTES > offset) this.#wrotePart(first - 1, offset, first * BLOCK_BYTES);
      if (last * BLOCK_BYTES < end) this.#wrotePart(last, last * BLOCK_BYTES, end);
    }
  }

  #wrotePart(block: number, offset: number, end: number): void {
    const state = this.#map.get(block);
    if (state === STATE.data) return;
    const start = block * BLOCK_BYTES;
    const to = end === this.size ? BLOCK_BYTES : end - start;
    if (state === STATE.zero || this.#partial.add(block, offset - start, to)) this.#set(block, 1, STATE.data);
    else {
      this.#map.set(block, 1, STATE.partial);
      this.#pending.push({ state: STATE.partial, first: block, count: 1, from: offset - start, to });
    }
  }

  #set(first: number, count: number, state: typeof STATE.data | typeof STATE.zero): void {
    if (this.#map.isAll(first, count, state)) return;
    this.#map.set(first, count, state);
    this.#partial.delete(first, count);
    const last = this.#pending.at(-1);
    if (last !== undefined && last.state === state && last.first + last.count === first) last.count += count;
    else this.#pending.push({ state, first, count, from: 0, to: 0 });
  }

  async #readPartial(offset: number, target: Buffer): Promise<void> {
    await this.#base.read(offset, target);
    const end = offset + target.length;
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < end; block++) {
      const start = block * BLOCK_BYTES;
      // Looked at after the base was read: what was written meanwhile stands over it.
      const state = this.#map.get(block);
      const ranges = state === STATE.partial ? this.#partial.of(block) : state === STATE.base ? [] : WHOLE;
      for (const range of ranges) {
        const from = Math.max(offset, start + range.from);
        const to = Math.min(end, start + range.to);
        if (to > from) await this.#data.read(target.subarray(from - offset, to - offset), from);
      }
    }
  }

  #completed(): Promise<void> {
    this.#completing ??= this.#completeSome().finally(() => {
      this.#completing = null;
    });
    return this.#completing;
  }

  /** Blocks whose first part was written longest ago become the overlay's as a whole. */
  async #completeSome(): Promise<void> {
    const some = this.#partial.oldest(Math.ceil(this.#limits.partialBlocks / 8));
    const read = await Promise.all(
      some.map(async (block) => {
        const bytes = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, this.size - block * BLOCK_BYTES));
        await this.#base.read(block * BLOCK_BYTES, bytes);
        return { block, bytes };
      }),
    );
    // Alone: a write under way into the same block could end under the base's bytes.
    await this.#turnstile.alone(() => settled(read.map(({ block, bytes }) => this.#fill(block, bytes))));
  }

  /** Puts the base's bytes between those that were written. */
  async #fill(block: number, bytes: Buffer): Promise<void> {
    if (this.#map.get(block) !== STATE.partial) return;
    const start = block * BLOCK_BYTES;
    let at = 0;
    for (const { from, to } of [...this.#partial.of(block), { from: bytes.length, to: bytes.length }]) {
      if (from > at) await this.#data.write(bytes.subarray(at, from), start + at);
      at = to;
    }
    this.#set(block, 1, STATE.data);
  }

  /** Calls that come while a flush is under way share the next. */
  #flushed(): Promise<void> {
    if (this.#flushing === null) return this.#asFlush(() => this.#flush());
    this.#nextFlush ??= this.#flushing
      .catch(() => undefined)
      .then(() => {
        this.#nextFlush = null;
        return this.#flushed();
      });
    return this.#nextFlush;
  }

  /** Flushes wait for `work`: the journal is its own meanwhile. */
  #asFlush(work: () => Promise<void>): Promise<void> {
    this.#flushing = work().finally(() => {
      this.#flushing = null;
    });
    return this.#flushing;
  }

  async #flush(): Promise<void> {
    if (this.#broken !== null) throw this.#broken;
    const pending = this.#pending;
    this.#pending = [];
    try {
      await this.#data.sync();
    } catch (error) {
      // The kernel tells of a failed write once and forgets the pages: nothing that is not flushed yet can be vouched for any more.
      this.#broken = error;
      throw error;
    }
    if (pending.length === 0) return;
    try {
      await this.#journal.append(pending);
    } catch (error) {
      this.#pending = [...pending, ...this.#pending];
      throw error;
    }
    if (this.#journal.length > this.#shortenAt) await this.#shorten();
  }

  /** What the map holds now is at least what the journal says, and all of it that was acknowledged is synced. */
  async #shorten(): Promise<void> {
    const changes = [...this.#changes()];
    if (changes.length * RECORD_BYTES * 4 <= this.#journal.length) {
      try {
        await this.#data.sync();
        await this.#journal.rewrite(changes);
      } catch (error) {
        // The long one is as good: what was flushed is flushed.
        if (this.#journal.lost) this.#broken = error;
      }
    }
    this.#shortenAt = this.#journal.length + this.#limits.journalBytes;
  }

  *#changes(): Generator<MapChange> {
    for (const { first, count, state } of this.#map.touched()) {
      if (state !== STATE.partial) yield { state, first, count, from: 0, to: 0 };
    }
    for (const [block, ranges] of this.#partial.entries()) {
      for (const { from, to } of ranges) yield { state: STATE.partial, first: block, count: 1, from, to };
    }
  }

  #runs(offset: number, end: number): Generator<BlockRun> {
    return this.#map.runs(Math.floor(offset / BLOCK_BYTES), Math.ceil(end / BLOCK_BYTES));
  }

  #mustBeOpen(): void {
    if (this.#broken !== null) throw this.#broken;
    if (this.#closed !== null) throw new PermanentError('instance_closed', 'The disk was taken away.');
  }
}

const WHOLE = [{ from: 0, to: BLOCK_BYTES }] as const;

/** Waits for all, so that nothing writes into a buffer after its read has failed; then the first error. */
async function settled(parts: Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(parts);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}
