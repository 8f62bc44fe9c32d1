/**
 * Pieces of disks in memory, all of one size ("units"), shared by everything that a node serves and bounded as a whole. Second chance
 * (CLOCK): a unit that was used since the hand last passed stays for one more round.
 */
const SLAB_UNITS = 64;

export interface UnitCacheOptions {
  /** Bytes of a unit. */
  unitBytes: number;
  /** Bytes of all units at most. Memory is taken as it is needed. */
  maxBytes: number;
}

const FREE = -1;
const FILLING = -2;

/** Units of one disk: its number above, the unit's below. */
const PER_DISK = 2 ** 32;

export class UnitCache {
  readonly unitBytes: number;
  readonly #most: number;
  readonly #slots = new Map<number, number>();
  readonly #slabs: Buffer[] = [];
  /** By slot: the key of its unit; FREE, or FILLING while somebody writes into it. */
  readonly #keys: Float64Array;
  readonly #used: Uint8Array;
  #count = 0;
  /** Slots that were used and hold nothing now. */
  readonly #free: number[] = [];
  #hand = 0;
  #nextDisk = 1;

  constructor({ unitBytes, maxBytes }: UnitCacheOptions) {
    this.unitBytes = unitBytes;
    this.#most = Math.max(1, Math.floor(maxBytes / unitBytes));
    this.#keys = new Float64Array(this.#most).fill(FREE);
    this.#used = new Uint8Array(this.#most);
  }

  /** A number for a disk whose units are to be kept apart from all others'. */
  newDisk(): number {
    return this.#nextDisk++;
  }

  /** Bytes that the units take now. */
  get bytes(): number {
    return this.#slots.size * this.unitBytes;
  }

  has(disk: number, unit: number): boolean {
    return this.#slots.has(disk * PER_DISK + unit);
  }

  /** Copies bytes `from` … of the unit into all of `target`; false where the unit is not here. */
  copy(disk: number, unit: number, from: number, target: Buffer): boolean {
    const slot = this.#slots.get(disk * PER_DISK + unit);
    if (slot === undefined) return false;
    this.#used[slot] = 1;
    const at = (slot % SLAB_UNITS) * this.unitBytes + from;
    this.#slabs[Math.floor(slot / SLAB_UNITS)]!.copy(target, 0, at, at + target.length);
    return true;
  }

  /** `bytes`: a unit at most; they are copied. */
  put(disk: number, unit: number, bytes: Buffer): void {
    const slot = this.#slots.get(disk * PER_DISK + unit) ?? this.#freeSlot();
    if (slot === null) return;
    bytes.copy(this.#bytesOf(slot));
    this.#publish(slot, disk * PER_DISK + unit);
  }

  /** Room for a unit that is filled in place, in shared memory, seen by nobody until it is `filled`; null where all room is being filled. */
  room(): { slot: number; bytes: Buffer } | null {
    const slot = this.#freeSlot();
    if (slot === null) return null;
    this.#keys[slot] = FILLING;
    return { slot, bytes: this.#bytesOf(slot) };
  }

  filled(slot: number, disk: number, unit: number): void {
    const key = disk * PER_DISK + unit;
    const before = this.#slots.get(key);
    if (before !== undefined) this.giveBack(before);
    this.#publish(slot, key);
  }

  /** It could not be filled. */
  giveBack(slot: number): void {
    this.#keys[slot] = FREE;
    this.#used[slot] = 0;
    this.#free.push(slot);
  }

  /** Forgets all units of a disk. */
  drop(disk: number): void {
    for (let slot = 0; slot < this.#count; slot++) {
      const key = this.#keys[slot]!;
      if (key < 0 || Math.floor(key / PER_DISK) !== disk) continue;
      this.#slots.delete(key);
      this.giveBack(slot);
    }
  }

  #publish(slot: number, key: number): void {
    this.#slots.set(key, slot);
    this.#keys[slot] = key;
    // Not used yet: what is read once, in passing, goes first.
    this.#used[slot] = 0;
  }

  #freeSlot(): number | null {
    return this.#free.pop() ?? (this.#count < this.#most ? this.#count++ : this.#evict());
  }

  /** None is free. Null after two rounds: every slot is being filled. */
  #evict(): number | null {
    for (let looks = 0; looks < 2 * this.#most; looks++) {
      const slot = this.#hand;
      this.#hand = (this.#hand + 1) % this.#most;
      const key = this.#keys[slot]!;
      if (key < 0) continue;
      if (this.#used[slot] === 1) {
        this.#used[slot] = 0;
        continue;
      }
      this.#slots.delete(key);
      this.#keys[slot] = FREE;
      return slot;
    }
    return null;
  }

  #bytesOf(slot: number): Buffer {
    const at = (slot % SLAB_UNITS) * this.unitBytes;
    return this.#slab(slot).subarray(at, at + this.unitBytes);
  }

  #slab(slot: number): Buffer {
    const number = Math.floor(slot / SLAB_UNITS);
    const units = Math.min(SLAB_UNITS, this.#most - number * SLAB_UNITS);
    // Shared, so that other threads can fill it.
    this.#slabs[number] ??= Buffer.from(new SharedArrayBuffer(units * this.unitBytes));
    return this.#slabs[number];
  }
}
