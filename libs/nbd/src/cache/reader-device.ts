/** A read-only device over a stored disk: cache, holes, readahead. */
import { PermanentError } from '@openservice/domain';
import type { BlockDevice, DeviceExtent } from '../device.ts';
import { giveBackRoom, sharedRoom } from '../read-rooms.ts';
import type { DiskReader } from './disk-reader.ts';
import { Holes } from './holes.ts';
import { Readahead } from './readahead.ts';
import type { UnitCache } from './unit-cache.ts';

/** Bytes fetched at once for who reads on: a chunk of a stored block. */
const BULK_BYTES = 1024 * 1024;
/** Bulks being fetched at once for one disk. */
const MOST_BULKS = 8;

export interface ReaderDeviceOptions {
  reader: DiskReader;
  /** Shared by all devices of the process. */
  cache: UnitCache;
}

export class ReaderDevice implements BlockDevice {
  readonly size: number;
  readonly readOnly = true;
  readonly #reader: DiskReader;
  readonly #cache: UnitCache;
  readonly #disk: number;
  readonly #unit: number;
  readonly #holes: Holes;
  readonly #readahead: Readahead;
  readonly #stop = new AbortController();
  /** By unit. */
  readonly #fetches = new Map<number, Promise<void>>();
  /** By bulk. */
  readonly #bulks = new Map<number, Promise<void>>();

  constructor({ reader, cache }: ReaderDeviceOptions) {
    this.size = reader.size;
    this.#reader = reader;
    this.#cache = cache;
    this.#disk = cache.newDisk();
    this.#unit = cache.unitBytes;
    this.#holes = new Holes(reader, this.#stop.signal);
    this.#readahead = new Readahead(Math.ceil(this.size / this.#unit), BULK_BYTES / this.#unit);
  }

  readNow(offset: number, target: Buffer): boolean {
    if (this.#reader.readNow?.(offset, target) === true) return true;
    if (this.#reader.selfCached === true) return false;
    const first = Math.floor(offset / this.#unit);
    const last = Math.floor((offset + target.length - 1) / this.#unit);
    if (first === last) {
      if (!this.#fromCache(first, offset - first * this.#unit, target)) return false;
    } else {
      // Whether all is here first: nothing is copied for nothing.
      for (let unit = first; unit <= last; unit++) if (!this.#isHere(unit)) return false;
      this.#each(offset, target, (unit, inside, part) => this.#fromCache(unit, inside, part));
    }
    this.#ahead(first, last);
    return true;
  }

  async read(offset: number, target: Buffer): Promise<void> {
    if (this.#reader.selfCached === true) {
      await this.#reader.readInto(offset, target, this.#stop.signal);
      return;
    }
    this.#ahead(Math.floor(offset / this.#unit), Math.floor((offset + target.length - 1) / this.#unit));
    const parts: Promise<void>[] = [];
    /** Whole units that lie one after the other, and that nobody fetches. */
    let run: { unit: number; part: Buffer } | null = null;
    const endRun = (): void => {
      if (run !== null) parts.push(this.#readRun(run.unit, run.part));
      run = null;
    };
    let done = 0;
    this.#each(offset, target, (unit, inside, part) => {
      const [from, to] = [done, done + part.length];
      done = to;
      if (this.#fromCache(unit, inside, part)) return endRun();
      if (part.length === this.#unit && this.#fetchOf(unit) === undefined) {
        run = run === null ? { unit, part } : { unit: run.unit, part: target.subarray(from - run.part.length, to) };
        return;
      }
      endRun();
      parts.push(this.#readUnit(unit, inside, part));
    });
    endRun();
    const failed = (await Promise.allSettled(parts)).find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async extents(offset: number, length: number, most: number): Promise<DeviceExtent[]> {
    return this.#holes.extents(offset, length, most);
  }

  prefetch(offset: number, length: number): void {
    if (this.#reader.selfCached === true) return;
    const last = Math.floor((offset + length - 1) / BULK_BYTES);
    for (let bulk = Math.floor(offset / BULK_BYTES); bulk <= last && this.#bulks.size < MOST_BULKS; bulk++) this.#fetchBulk(bulk);
  }

  async write(): Promise<void> {
    throw readOnly();
  }

  async zero(): Promise<void> {
    throw readOnly();
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled([...this.#fetches.values(), ...this.#bulks.values()]);
    this.#cache.drop(this.#disk);
    await this.#reader.close();
  }

  #isHere(unit: number): boolean {
    return this.#cache.has(this.#disk, unit) || this.#holes.isKnownHole(unit * this.#unit, this.#unit);
  }

  #fromCache(unit: number, inside: number, target: Buffer): boolean {
    if (this.#cache.copy(this.#disk, unit, inside, target)) return true;
    if (!this.#holes.isKnownHole(unit * this.#unit, this.#unit)) return false;
    target.fill(0);
    return true;
  }

  async #readUnit(unit: number, inside: number, target: Buffer): Promise<void> {
    await this.#fetch(unit);
    if (this.#fromCache(unit, inside, target)) return;
    // It was pushed out again before its turn came: the cache is too small for what goes on, so it is read past it.
    await this.#reader.readInto(unit * this.#unit + inside, target, this.#stop.signal);
  }

  /** Whole units go from the store to where they are wanted; the cache gets a copy. */
  async #readRun(first: number, target: Buffer): Promise<void> {
    if (target.length === this.#unit) return this.#readUnit(first, 0, target);
    const read = this.#loadRun(first, target);
    const units = target.length / this.#unit;
    for (let i = 0; i < units; i++) this.#fetches.set(first + i, read);
    try {
      await read;
    } finally {
      for (let i = 0; i < units; i++) this.#fetches.delete(first + i);
    }
  }

  async #loadRun(first: number, target: Buffer): Promise<void> {
    const offset = first * this.#unit;
    if (await this.#holes.isHole(offset, target.length)) {
      target.fill(0);
      return;
    }
    await this.#reader.readInto(offset, target, this.#stop.signal);
    for (let at = 0; at < target.length; at += this.#unit)
      this.#cache.put(this.#disk, first + at / this.#unit, target.subarray(at, at + this.#unit));
  }

  #fetchOf(unit: number): Promise<void> | undefined {
    return this.#bulks.get(Math.floor((unit * this.#unit) / BULK_BYTES)) ?? this.#fetches.get(unit);
  }

  #fetch(unit: number): Promise<void> {
    const known = this.#fetchOf(unit);
    if (known !== undefined) return known;
    const fetch = this.#loadUnit(unit).finally(() => this.#fetches.delete(unit));
    this.#fetches.set(unit, fetch);
    return fetch;
  }

  async #loadUnit(unit: number): Promise<void> {
    const offset = unit * this.#unit;
    const length = Math.min(this.#unit, this.size - offset);
    if (await this.#holes.isHole(offset, length)) return;
    const room = this.#cache.room();
    // All of the cache is being filled: who asks reads past it.
    if (room === null) return;
    try {
      await this.#reader.readInto(offset, room.bytes.subarray(0, length), this.#stop.signal);
    } catch (error) {
      this.#cache.giveBack(room.slot);
      throw error;
    }
    this.#cache.filled(room.slot, this.#disk, unit);
  }

  async #loadBulk(bulk: number): Promise<void> {
    const offset = bulk * BULK_BYTES;
    const length = Math.min(BULK_BYTES, this.size - offset);
    if (await this.#holes.isHole(offset, length)) return;
    const bytes = sharedRoom(BULK_BYTES);
    await this.#reader.readInto(offset, bytes.subarray(0, length), this.#stop.signal);
    for (let at = 0; at < length; at += this.#unit)
      this.#cache.put(this.#disk, (offset + at) / this.#unit, bytes.subarray(at, Math.min(length, at + this.#unit)));
    giveBackRoom(bytes);
  }

  #ahead(first: number, last: number): void {
    if (!this.#readahead.advance(first, last)) return;
    for (const bulk of this.#readahead.wanted()) {
      if (this.#bulks.size >= MOST_BULKS) return;
      this.#fetchBulk(bulk);
    }
  }

  /** What fails here fails again where it is asked for. */
  #fetchBulk(bulk: number): void {
    if (this.#bulks.has(bulk) || this.#isBulkHere(bulk)) return;
    const fetch = this.#loadBulk(bulk).finally(() => this.#bulks.delete(bulk));
    this.#bulks.set(bulk, fetch);
    fetch.catch(() => undefined);
  }

  /** Or on its way. */
  #isBulkHere(bulk: number): boolean {
    const end = Math.min(this.size, (bulk + 1) * BULK_BYTES);
    for (let at = bulk * BULK_BYTES; at < end; at += this.#unit) {
      const unit = at / this.#unit;
      if (!this.#isHere(unit) && !this.#fetches.has(unit)) return false;
    }
    return true;
  }

  #each(offset: number, target: Buffer, work: (unit: number, inside: number, part: Buffer) => void): void {
    for (let done = 0; done < target.length; ) {
      const unit = Math.floor((offset + done) / this.#unit);
      const inside = offset + done - unit * this.#unit;
      const count = Math.min(target.length - done, this.#unit - inside);
      work(unit, inside, target.subarray(done, done + count));
      done += count;
    }
  }
}

function readOnly(): PermanentError {
  return new PermanentError('read_only', 'The disk is read-only.');
}
