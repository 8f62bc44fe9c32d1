/**
 * A pack: header, chunk records, footer index, trailer (docs/format.md, Pack). Filled in one buffer, named by the hash of its bytes. The salt
 * makes sure that two sessions never make the same pack, so that a pack has one owner.
 */
import { blake3 } from '@napi-rs/blake-hash';
import { crc32c } from '@node-rs/crc32';
import type { EncodedChunk } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import { writeRecord } from './record.ts';

const HEADER_MAGIC = Buffer.from('OSPACK01', 'latin1');
const TRAILER_MAGIC = Buffer.from('OSPKEND1', 'latin1');
export const PACK_HEADER_BYTES = 32;
export const PACK_ENTRY_BYTES = 48;
export const PACK_TRAILER_BYTES = 24;
export const SALT_BYTES = 16;
const VERSION = 1;

export interface PackEntry {
  id: Buffer;
  offset: number;
  /** Bytes of the whole record. */
  length: number;
  rawLength: number;
  codec: number;
}

export class PackBuilder {
  readonly number: number;
  readonly #buffer: Buffer;
  readonly #footer: Buffer[] = [];
  #at = PACK_HEADER_BYTES;

  /** `buffer`: as long as the pack may get; belongs to the pack until it is stored. */
  constructor(number: number, buffer: Buffer, salt: Buffer) {
    this.number = number;
    this.#buffer = buffer;
    buffer.fill(0, 0, PACK_HEADER_BYTES);
    HEADER_MAGIC.copy(buffer);
    salt.copy(buffer, 8, 0, SALT_BYTES);
  }

  get buffer(): Buffer {
    return this.#buffer;
  }

  /** Bytes of the finished pack, as it stands. */
  get size(): number {
    return this.#at + this.#footer.length * PACK_ENTRY_BYTES + PACK_TRAILER_BYTES;
  }

  fits(recordBytes: number): boolean {
    return this.size + recordBytes + PACK_ENTRY_BYTES <= this.#buffer.length;
  }

  append(
    id: Buffer,
    rawLength: number,
    frameSize: number,
    chunk: EncodedChunk,
    nonce: Buffer | null,
  ): { offset: number; length: number } {
    const offset = this.#at;
    const length = writeRecord(this.#buffer, offset, id, rawLength, frameSize, chunk, nonce);
    const entry = Buffer.alloc(PACK_ENTRY_BYTES);
    id.copy(entry);
    entry.writeUInt32LE(offset, 32);
    entry.writeUInt32LE(length, 36);
    entry.writeUInt32LE(rawLength, 40);
    entry.writeUInt32LE(chunk.codec, 44);
    this.#footer.push(entry);
    this.#at += length;
    return { offset, length };
  }

  finish(): { name: string; bytes: Buffer } {
    const footerAt = this.#at;
    let at = footerAt;
    for (const entry of this.#footer) at += entry.copy(this.#buffer, at);
    TRAILER_MAGIC.copy(this.#buffer, at);
    this.#buffer.writeUInt32LE(VERSION, at + 8);
    this.#buffer.writeUInt32LE(this.#footer.length, at + 12);
    this.#buffer.writeUInt32LE(at - footerAt, at + 16);
    this.#buffer.writeUInt32LE(crc32c(this.#buffer.subarray(footerAt, at + 20)), at + 20);
    const bytes = this.#buffer.subarray(0, at + PACK_TRAILER_BYTES);
    return { name: blake3(bytes).toString('hex'), bytes };
  }
}

/** The index of a whole pack, from its footer. PermanentError `damaged_pack`. */
export function readPackIndex(pack: Buffer): PackEntry[] {
  const notWhole = !pack.subarray(0, 8).equals(HEADER_MAGIC) || pack.length < PACK_HEADER_BYTES + PACK_TRAILER_BYTES;
  if (notWhole)
    throw new PermanentError('damaged_pack', 'The pack does not begin with OSPACK01 or does not end with its trailer.');
  return readPackFooter(pack.subarray(pack.length - packTailBytes(pack.subarray(-PACK_TRAILER_BYTES))));
}

/** Bytes of footer and trailer of a pack. `trailer`: its last PACK_TRAILER_BYTES bytes. PermanentError `damaged_pack`. */
export function packTailBytes(trailer: Buffer): number {
  if (trailer.length !== PACK_TRAILER_BYTES || !trailer.subarray(0, 8).equals(TRAILER_MAGIC))
    throw new PermanentError('damaged_pack', 'The pack does not end with its trailer.');
  return trailer.readUInt32LE(16) + PACK_TRAILER_BYTES;
}

/** `tail`: footer and trailer. PermanentError `damaged_pack`. */
export function readPackFooter(tail: Buffer): PackEntry[] {
  const end = tail.length - PACK_TRAILER_BYTES;
  const count = tail.readUInt32LE(end + 12);
  if (end !== count * PACK_ENTRY_BYTES || crc32c(tail.subarray(0, end + 20)) !== tail.readUInt32LE(end + 20)) {
    throw new PermanentError('damaged_pack', 'The footer of the pack is damaged.');
  }
  const entries: PackEntry[] = [];
  for (let at = 0; at < end; at += PACK_ENTRY_BYTES) {
    entries.push({
      id: Buffer.from(tail.subarray(at, at + 32)),
      offset: tail.readUInt32LE(at + 32),
      length: tail.readUInt32LE(at + 36),
      rawLength: tail.readUInt32LE(at + 40),
      codec: tail.readUInt32LE(at + 44),
    });
  }
  return entries;
}
