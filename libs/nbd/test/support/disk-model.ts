/** What a disk may hold, byte by byte, after calls that ran at the same time, and after a kill. */
import { expect } from 'chai';

/** A call that puts `value` into bytes `offset` … `end - 1`. */
export interface Put {
  offset: number;
  end: number;
  value: number;
}

export class DiskModel {
  /** As it reads now. */
  readonly bytes: Buffer;
  /** As the last flush left it. */
  #flushed: Buffer;
  /** By byte: what was put there since the last flush. */
  #since = new Map<number, Set<number>>();

  constructor(bytes: Buffer) {
    this.bytes = Buffer.from(bytes);
    this.#flushed = Buffer.from(bytes);
  }

  /** `actual` is what the disk reads as after the calls, which ran at once: where several met, any of them may have been last. */
  settle(puts: readonly Put[], actual: Buffer, what: string): void {
    for (const [at, values] of this.#met(puts)) {
      if (!values.has(actual[at]!)) fail(what, at, actual[at]!, values);
      this.bytes[at] = actual[at]!;
    }
    this.begin(puts);
    if (!actual.equals(this.bytes)) {
      const at = actual.findIndex((byte, i) => byte !== this.bytes[i]);
      fail(what, at, actual[at]!, new Set([this.bytes[at]!]));
    }
  }

  /** `read` was read while the calls ran. */
  mayRead(puts: readonly Put[], offset: number, read: Buffer): void {
    const met = this.#met(puts);
    for (const [i, byte] of read.entries()) {
      if (byte !== this.bytes[offset + i] && met.get(offset + i)?.has(byte) !== true)
        fail('a read meanwhile', offset + i, byte, met.get(offset + i) ?? new Set([this.bytes[offset + i]!]));
    }
  }

  /** The calls have begun: a kill from now on may show what they put. */
  begin(puts: readonly Put[]): void {
    for (const [at, values] of this.#met(puts)) {
      const since = this.#since.get(at) ?? new Set();
      for (const value of values) since.add(value);
      this.#since.set(at, since);
    }
  }

  /** As it is now, to be asked later. */
  clone(): DiskModel {
    const copy = new DiskModel(this.bytes);
    copy.#flushed = Buffer.from(this.#flushed);
    copy.#since = new Map([...this.#since].map(([at, values]) => [at, new Set(values)]));
    return copy;
  }

  /** All that was put before is on stable storage. */
  flushed(): void {
    this.#flushed = Buffer.from(this.bytes);
    this.#since.clear();
  }

  /** The disk came back as `actual` after a kill: what was flushed, or what was put there later. */
  killed(actual: Buffer): void {
    for (const [at, byte] of actual.entries()) {
      if (byte !== this.#flushed[at] && this.#since.get(at)?.has(byte) !== true)
        fail('after a kill', at, byte, new Set([this.#flushed[at]!, ...(this.#since.get(at) ?? [])]));
    }
    actual.copy(this.bytes);
    this.flushed();
  }

  #met(puts: readonly Put[]): Map<number, Set<number>> {
    const met = new Map<number, Set<number>>();
    for (const { offset, end, value } of puts) {
      for (let at = offset; at < end; at++) {
        const values = met.get(at) ?? new Set();
        values.add(value);
        met.set(at, values);
      }
    }
    return met;
  }
}

function fail(what: string, at: number, actual: number, may: ReadonlySet<number>): never {
  expect.fail(`${what}: byte ${at} (block ${Math.floor(at / 4096)}) is ${actual}, may be ${[...may].join(', ')}`);
}
