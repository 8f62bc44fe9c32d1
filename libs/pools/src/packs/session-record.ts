/**
 * What a writing session has made durable, a record a pack (docs/format.md, Sessions). All records of a job's attempts, in order, are the
 * checkpoint from which its next attempt goes on, on whatever node.
 */
import { PermanentError } from '@openservice/domain';
import { checked, withCrc } from './checked.ts';
import { HASH_BYTES } from './segment.ts';

const MAGIC = Buffer.from('OSSESS02', 'latin1');
const HEAD_BYTES = 24;
const PACK_BYTES = HASH_BYTES + 8;
const ENTRY_BYTES = 52;
const HOLE_BYTES = 16;
const SEGMENT_BYTES = 4 + 3 * HASH_BYTES;
const OWN = 1;

export interface SessionPack {
  name: Buffer;
  size: number;
  /** Written by this session, or by one whose work it took over; else found in the pool. */
  own: boolean;
}

/** A segment that the session relies on. */
export interface SessionSegment {
  own: boolean;
  /** BLAKE3 of the digests alone: what equal segments have in common. */
  content: Buffer;
  digests: Buffer;
  locations: Buffer;
}

export interface SessionEntry {
  index: number;
  digest: Buffer;
  /** Place in `packs`. */
  pack: number;
  offset: number;
  length: number;
}

export interface SessionRecord {
  packs: SessionPack[];
  entries: SessionEntry[];
  /** First chunk and count of each range of holes, one after the other. */
  holes: number[];
  segments: SessionSegment[];
}

export function encodeSessionRecord(record: SessionRecord): Buffer {
  const ranges = record.holes.length / 2;
  const bytes = Buffer.alloc(
    HEAD_BYTES +
      record.packs.length * PACK_BYTES +
      record.entries.length * ENTRY_BYTES +
      ranges * HOLE_BYTES +
      record.segments.length * SEGMENT_BYTES,
  );
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(record.packs.length, 8);
  bytes.writeUInt32LE(record.entries.length, 12);
  bytes.writeUInt32LE(ranges, 16);
  bytes.writeUInt32LE(record.segments.length, 20);
  let at = HEAD_BYTES;
  for (const pack of record.packs) {
    pack.name.copy(bytes, at);
    bytes.writeUInt32LE(pack.size, at + HASH_BYTES);
    bytes.writeUInt32LE(pack.own ? OWN : 0, at + HASH_BYTES + 4);
    at += PACK_BYTES;
  }
  for (const entry of record.entries) {
    bytes.writeBigUInt64LE(BigInt(entry.index), at);
    bytes.writeUInt32LE(entry.pack, at + 8);
    bytes.writeUInt32LE(entry.offset, at + 12);
    bytes.writeUInt32LE(entry.length, at + 16);
    entry.digest.copy(bytes, at + 20);
    at += ENTRY_BYTES;
  }
  for (const value of record.holes) {
    bytes.writeBigUInt64LE(BigInt(value), at);
    at += HOLE_BYTES / 2;
  }
  for (const segment of record.segments) {
    bytes.writeUInt32LE(segment.own ? OWN : 0, at);
    segment.content.copy(bytes, at + 4);
    segment.digests.copy(bytes, at + 4 + HASH_BYTES);
    segment.locations.copy(bytes, at + 4 + 2 * HASH_BYTES);
    at += SEGMENT_BYTES;
  }
  return withCrc(bytes);
}

/** PermanentError `damaged_checkpoint`. */
export function decodeSessionRecord(bytes: Buffer, key: string): SessionRecord {
  const body = checked(bytes, MAGIC, 'damaged_checkpoint', `session record ${key}`);
  if (body.length < HEAD_BYTES) throw new PermanentError('damaged_checkpoint', `The session record ${key} is too short.`);
  const [packs, entries, ranges, segments] = [8, 12, 16, 20].map((at) => body.readUInt32LE(at)) as [
    number,
    number,
    number,
    number,
  ];
  const length = HEAD_BYTES + packs * PACK_BYTES + entries * ENTRY_BYTES + ranges * HOLE_BYTES + segments * SEGMENT_BYTES;
  if (body.length !== length) {
    throw new PermanentError('damaged_checkpoint', `The session record ${key} is damaged: its length is wrong.`);
  }
  const record: SessionRecord = { packs: [], entries: [], holes: [], segments: [] };
  let at = HEAD_BYTES;
  for (let i = 0; i < packs; i++, at += PACK_BYTES) {
    record.packs.push({
      name: body.subarray(at, at + HASH_BYTES),
      size: body.readUInt32LE(at + HASH_BYTES),
      own: body.readUInt32LE(at + HASH_BYTES + 4) === OWN,
    });
  }
  for (let i = 0; i < entries; i++, at += ENTRY_BYTES) {
    record.entries.push({
      index: Number(body.readBigUInt64LE(at)),
      pack: body.readUInt32LE(at + 8),
      offset: body.readUInt32LE(at + 12),
      length: body.readUInt32LE(at + 16),
      digest: body.subarray(at + 20, at + ENTRY_BYTES),
    });
  }
  for (let i = 0; i < ranges * 2; i++, at += 8) record.holes.push(Number(body.readBigUInt64LE(at)));
  for (let i = 0; i < segments; i++, at += SEGMENT_BYTES) {
    const part = (n: number): Buffer => body.subarray(at + 4 + n * HASH_BYTES, at + 4 + (n + 1) * HASH_BYTES);
    record.segments.push({ own: body.readUInt32LE(at) === OWN, content: part(0), digests: part(1), locations: part(2) });
  }
  return record;
}
