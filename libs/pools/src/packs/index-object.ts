/**
 * What one session added to the pool: the chunks of its packs, and its segments (docs/format.md, Index). A hint, never truth: whoever
 * relies on a place proves first that its pack is there.
 */
import { PermanentError } from '@openservice/domain';
import { checked, withCrc } from './checked.ts';
import { HASH_BYTES } from './segment.ts';

const MAGIC = Buffer.from('OSINDEX1', 'latin1');
const HEAD_BYTES = 24;
const PACK_BYTES = HASH_BYTES + 4;
export const INDEX_ENTRY_BYTES = HASH_BYTES + 12;
const SEGMENT_BYTES = 3 * HASH_BYTES;

export interface IndexEntry {
  id: Buffer;
  /** Place in `packs`. */
  pack: number;
  offset: number;
  length: number;
}

export interface IndexSegment {
  /** BLAKE3 of the digests alone. */
  content: Buffer;
  digests: Buffer;
  locations: Buffer;
}

export interface IndexObject {
  packs: { name: Buffer; size: number }[];
  entries: IndexEntry[];
  segments: IndexSegment[];
}

export function encodeIndexObject(index: IndexObject): Buffer {
  const bytes = Buffer.alloc(
    HEAD_BYTES +
      index.packs.length * PACK_BYTES +
      index.entries.length * INDEX_ENTRY_BYTES +
      index.segments.length * SEGMENT_BYTES,
  );
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(index.packs.length, 8);
  bytes.writeUInt32LE(index.entries.length, 12);
  bytes.writeUInt32LE(index.segments.length, 16);
  let at = HEAD_BYTES;
  for (const pack of index.packs) {
    pack.name.copy(bytes, at);
    bytes.writeUInt32LE(pack.size, at + HASH_BYTES);
    at += PACK_BYTES;
  }
  for (const entry of index.entries) {
    entry.id.copy(bytes, at);
    bytes.writeUInt32LE(entry.pack, at + HASH_BYTES);
    bytes.writeUInt32LE(entry.offset, at + HASH_BYTES + 4);
    bytes.writeUInt32LE(entry.length, at + HASH_BYTES + 8);
    at += INDEX_ENTRY_BYTES;
  }
  for (const segment of index.segments) {
    for (const part of [segment.content, segment.digests, segment.locations]) at += part.copy(bytes, at);
  }
  return withCrc(bytes);
}

/** As it lies in the pool: entries are not unpacked. */
export interface OpenIndex {
  packs: { name: Buffer; size: number }[];
  /** INDEX_ENTRY_BYTES each: id 32, place in `packs` u32, offset u32, length u32. */
  entries: Buffer;
  segments: IndexSegment[];
}

/** PermanentError `damaged_index`. */
export function openIndexObject(bytes: Buffer, key: string): OpenIndex {
  const body = checked(bytes, MAGIC, 'damaged_index', `index ${key}`);
  const damaged = (): PermanentError => new PermanentError('damaged_index', `The index ${key} is damaged: its length is wrong.`);
  if (body.length < HEAD_BYTES) throw damaged();
  const [packs, entries, segments] = [8, 12, 16].map((at) => body.readUInt32LE(at)) as [number, number, number];
  if (body.length !== HEAD_BYTES + packs * PACK_BYTES + entries * INDEX_ENTRY_BYTES + segments * SEGMENT_BYTES) throw damaged();
  const entriesAt = HEAD_BYTES + packs * PACK_BYTES;
  const segmentsAt = entriesAt + entries * INDEX_ENTRY_BYTES;
  const index: OpenIndex = { packs: [], entries: body.subarray(entriesAt, segmentsAt), segments: [] };
  for (let at = HEAD_BYTES; at < entriesAt; at += PACK_BYTES)
    index.packs.push({ name: body.subarray(at, at + HASH_BYTES), size: body.readUInt32LE(at + HASH_BYTES) });
  for (let at = segmentsAt; at < body.length; at += SEGMENT_BYTES) {
    const part = (n: number): Buffer => body.subarray(at + n * HASH_BYTES, at + (n + 1) * HASH_BYTES);
    index.segments.push({ content: part(0), digests: part(1), locations: part(2) });
  }
  return index;
}
