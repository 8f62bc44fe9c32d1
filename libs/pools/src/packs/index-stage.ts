/**
 * Entries on their way into the index cache. A B-tree that takes ids as they come touches a page for each; in ascending order it fills page
 * after page. So they are sorted first: in memory where they are few, else cut by the first byte of the id into files that are.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Id 32, place 16. */
export const STAGED_BYTES = 48;
const ID_BYTES = 32;
/** Entries sorted at once: 12 MiB. */
const IN_MEMORY = 262_144;
const MOST_PARTS = 256;
const BUFFER_BYTES = STAGED_BYTES * 1024;

interface Part {
  /** -1: in memory alone. */
  file: number;
  buffer: Buffer;
  used: number;
  /** Bytes in the file. */
  written: number;
}

function readAll(file: number, into: Buffer): void {
  for (let at = 0; at < into.length; ) {
    const count = readSync(file, into, at, into.length - at, at);
    if (count === 0) throw new Error('a file of the index cache is shorter than it was');
    at += count;
  }
}

export class IndexStage {
  readonly #dir: string | null;
  readonly #parts: Part[] = [];

  /** `dir` null, or `expected` entries few: in memory. */
  constructor(dir: string | null, expected: number) {
    const parts = Math.min(MOST_PARTS, 2 ** Math.ceil(Math.log2(Math.max(1, expected / IN_MEMORY))));
    this.#dir = dir === null || parts === 1 ? null : mkdtempSync(join(dir, 'index-'));
    for (let i = 0; i < (this.#dir === null ? 1 : parts); i++) {
      const file = this.#dir === null ? -1 : openSync(join(this.#dir, String(i)), 'wx+', 0o600);
      this.#parts.push({ file, buffer: Buffer.allocUnsafe(BUFFER_BYTES), used: 0, written: 0 });
    }
  }

  add(id: Buffer, place: Buffer): void {
    const part = this.#parts[((id[0] ?? 0) * this.#parts.length) >>> 8]!;
    if (part.used === part.buffer.length) this.#makeRoom(part);
    id.copy(part.buffer, part.used, 0, ID_BYTES);
    place.copy(part.buffer, part.used + ID_BYTES);
    part.used += STAGED_BYTES;
  }

  /** All entries in ascending order, those of equal ids in the order in which they came. */
  *sorted(): Generator<{ id: Buffer; place: Buffer }> {
    // One buffer and one array for all the files: nothing for the garbage collector to be late with.
    let space = Buffer.alloc(0);
    let keys = new BigUint64Array(0);
    for (const part of this.#parts) {
      let bytes = part.buffer.subarray(0, part.used);
      if (part.file >= 0) {
        this.#makeRoom(part);
        if (space.length < part.written) space = Buffer.allocUnsafeSlow(part.written + (part.written >>> 3));
        bytes = space.subarray(0, part.written);
        readAll(part.file, bytes);
      }
      if (keys.length < bytes.length / STAGED_BYTES)
        keys = new BigUint64Array(Math.ceil(Math.max(space.length, bytes.length) / STAGED_BYTES));
      for (const at of inOrder(bytes, keys.subarray(0, bytes.length / STAGED_BYTES))) {
        yield { id: bytes.subarray(at, at + ID_BYTES), place: bytes.subarray(at + ID_BYTES, at + STAGED_BYTES) };
      }
    }
  }

  close(): void {
    for (const { file } of this.#parts) if (file >= 0) closeSync(file);
    if (this.#dir !== null) rmSync(this.#dir, { recursive: true, force: true });
  }

  #makeRoom(part: Part): void {
    if (part.file < 0) {
      const larger = Buffer.allocUnsafe(part.buffer.length * 2);
      part.buffer.copy(larger);
      part.buffer = larger;
      return;
    }
    for (let at = 0; at < part.used; ) at += writeSync(part.file, part.buffer, at, part.used - at);
    part.written += part.used;
    part.used = 0;
  }
}

/** Where the entries begin, by the first 40 bits of the id, then by their place: numbers sort many times faster than buffers. */
function* inOrder(bytes: Buffer, keys: BigUint64Array): Generator<number> {
  for (let i = 0, at = 0; i < keys.length; i++, at += STAGED_BYTES) {
    keys[i] = ((bytes.readBigUInt64BE(at) >> 24n) << 24n) | BigInt(i);
  }
  keys.sort();
  for (const key of keys) yield Number(key & 0xffffffn) * STAGED_BYTES;
}
