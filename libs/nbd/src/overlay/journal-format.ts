/**
 * The journal of an overlay's map: a header, then batches, each the changes between two flushes. All integers are little endian.
 *
 * Header, 64 bytes: "OSOVLAY1", size of the disk u64, block size u32, reserved; CRC32 of the 60 bytes before at 60.
 * Batch: "OSOB" u32, records u32, number of the batch u64 (1, 2, …), CRC32 u32 of all its bytes but this field, reserved u32; then the records.
 * Record, 24 bytes: state u32 (1 data, 2 zero, 3 partial, 0 base), from u16 and to u16 (bytes in the block, of `partial`; else 0), first block u64,
 * count u64.
 *
 * A batch that is not whole ends the journal: it was never acknowledged.
 */
import { crc32 } from 'node:zlib';
import { PermanentError } from '@openservice/domain';
import { BLOCK_BYTES, type BlockState } from './block-map.ts';

export const HEADER_BYTES = 64;
export const BATCH_HEAD_BYTES = 24;
export const RECORD_BYTES = 24;
const MAGIC = Buffer.from('OSOVLAY1', 'latin1');
const BATCH_MAGIC = 0x424f534f; // "OSOB"

export interface MapChange {
  state: BlockState;
  first: number;
  count: number;
  /** Bytes within the block, of `partial` alone. */
  from: number;
  to: number;
}

export function encodeHeader(size: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(bytes);
  bytes.writeBigUInt64LE(BigInt(size), 8);
  bytes.writeUInt32LE(BLOCK_BYTES, 16);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
  return bytes;
}

/** PermanentError `damaged_overlay` unless it is the header of an overlay of `size` bytes. */
export function checkHeader(bytes: Buffer, size: number, path: string): void {
  if (bytes.length === HEADER_BYTES && bytes.equals(encodeHeader(size))) return;
  throw new PermanentError('damaged_overlay', `${path} is no journal of an overlay of ${size} bytes, or is damaged.`);
}

export function encodeBatch(number: number, changes: readonly MapChange[]): Buffer {
  const bytes = Buffer.alloc(BATCH_HEAD_BYTES + changes.length * RECORD_BYTES);
  bytes.writeUInt32LE(BATCH_MAGIC, 0);
  bytes.writeUInt32LE(changes.length, 4);
  bytes.writeBigUInt64LE(BigInt(number), 8);
  let at = BATCH_HEAD_BYTES;
  for (const change of changes) {
    bytes.writeUInt32LE(change.state, at);
    bytes.writeUInt16LE(change.from, at + 4);
    bytes.writeUInt16LE(change.to, at + 6);
    writeSafe(bytes, change.first, at + 8);
    writeSafe(bytes, change.count, at + 16);
    at += RECORD_BYTES;
  }
  bytes.writeUInt32LE(crcOf(bytes), 16);
  return bytes;
}

/** Bytes of the batch whose head this is; null where it is none. */
export function batchBytes(head: Buffer): number | null {
  if (head.length < BATCH_HEAD_BYTES || head.readUInt32LE(0) !== BATCH_MAGIC) return null;
  return BATCH_HEAD_BYTES + head.readUInt32LE(4) * RECORD_BYTES;
}

/** The changes of a whole batch; null where it is not batch `number`, or damaged. */
export function decodeBatch(bytes: Buffer, number: number): MapChange[] | null {
  if (batchBytes(bytes) !== bytes.length || Number(bytes.readBigUInt64LE(8)) !== number) return null;
  if (crcOf(bytes) !== bytes.readUInt32LE(16)) return null;
  const changes: MapChange[] = [];
  for (let at = BATCH_HEAD_BYTES; at < bytes.length; at += RECORD_BYTES) {
    changes.push({
      state: (bytes.readUInt32LE(at) & 3) as BlockState,
      from: bytes.readUInt16LE(at + 4),
      to: bytes.readUInt16LE(at + 6),
      first: Number(bytes.readBigUInt64LE(at + 8)),
      count: Number(bytes.readBigUInt64LE(at + 16)),
    });
  }
  return changes;
}

function crcOf(batch: Buffer): number {
  return crc32(batch.subarray(20), crc32(batch.subarray(0, 16)));
}

function writeSafe(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, at);
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}
