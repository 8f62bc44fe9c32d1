/**
 * A chunk as it lies in a pack: header, frame table, payload (docs/format.md, Chunk record). The header alone tells a scrub, which has
 * no key, how to walk and check a pack.
 */
import { crc32c } from '@node-rs/crc32';
import { type EncodedChunk, SEAL_BYTES } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';

export const RECORD_HEAD_BYTES = 64;
const FRAME_ENTRY_BYTES = 8;
const MAGIC = 0x4843534f; // "OSCH"
const VERSION = 1;

/**
 * Raw bytes of a frame (a small read decodes one), and zstd's level. 1.2 GiB of files: 128 KiB at level 1 take 427 MiB, 64 KiB at level 1
 * 432 MiB and about 7 % more time, 64 KiB at level 3 416 MiB. Decoding 128 KiB took 0.16 ms: a random read of a live disk waits for that, so it
 * decodes half as much.
 */
export const FRAME_BYTES = 64 * 1024;
export const ZSTD_LEVEL = 1;
/** Between frame table and payload of a sealed record. */
export const NONCE_BYTES = 16;
const SEALED = 1;

export interface RecordHead {
  codec: 0 | 1;
  /** Frames are AES-256-GCM (docs/format.md, Encryption). */
  sealed: boolean;
  /** Keyed BLAKE3 of the chunk's digest. */
  id: Buffer;
  rawLength: number;
  /** Bytes of all frames together. */
  payloadLength: number;
  /** Raw bytes of each frame but perhaps the last. */
  frameSize: number;
  frameCount: number;
}

export interface FrameTable {
  frames: number[];
  crcs: number[];
}

/** Bytes before the payload: header, frame table, and the nonce of a sealed record. */
export function recordPrefixBytes(frameCount: number, sealed: boolean): number {
  return RECORD_HEAD_BYTES + FRAME_ENTRY_BYTES * frameCount + (sealed ? NONCE_BYTES : 0);
}

/** The most that a record of a chunk of `rawLength` bytes takes: compression never makes it larger, seals do by SEAL_BYTES a frame. */
export function maxRecordBytes(rawLength: number, frameSize: number, sealed: boolean): number {
  const frames = Math.ceil(rawLength / frameSize);
  return recordPrefixBytes(frames, sealed) + rawLength + (sealed ? frames * SEAL_BYTES : 0);
}

/** No record of a chunk of `chunkSize` bytes at most is longer, however it was cut into frames; what would be is neither taken nor read. */
export function longestRecordBytes(chunkSize: number): number {
  return 2 * chunkSize + 64 * 1024;
}

/** Writes the record at `offset` of `into` and answers its length in bytes. */
export function writeRecord(
  into: Buffer,
  offset: number,
  id: Buffer,
  rawLength: number,
  frameSize: number,
  chunk: EncodedChunk,
  nonce: Buffer | null,
): number {
  const head = into.subarray(offset, offset + RECORD_HEAD_BYTES).fill(0);
  head.writeUInt32LE(MAGIC, 0);
  head.writeUInt8(VERSION, 4);
  head.writeUInt8(chunk.codec, 5);
  head.writeUInt16LE(nonce === null ? 0 : SEALED, 6);
  id.copy(head, 8);
  head.writeUInt32LE(rawLength, 40);
  head.writeUInt32LE(chunk.bytes.length, 44);
  head.writeUInt32LE(frameSize, 48);
  head.writeUInt32LE(chunk.frames.length, 52);
  head.writeUInt32LE(crc32c(head.subarray(0, 60)), 60);
  let at = offset + RECORD_HEAD_BYTES;
  for (let i = 0; i < chunk.frames.length; i++) {
    into.writeUInt32LE(chunk.frames[i]!, at);
    into.writeUInt32LE(chunk.crcs[i]!, at + 4);
    at += FRAME_ENTRY_BYTES;
  }
  if (nonce !== null) at += nonce.copy(into, at);
  return at + chunk.bytes.copy(into, at) - offset;
}

/** PermanentError `damaged_chunk` for bytes that are no header. */
export function readRecordHead(bytes: Buffer): RecordHead {
  if (
    bytes.length < RECORD_HEAD_BYTES ||
    bytes.readUInt32LE(0) !== MAGIC ||
    crc32c(bytes.subarray(0, 60)) !== bytes.readUInt32LE(60)
  ) {
    throw new PermanentError('damaged_chunk', 'the header of the chunk record is damaged');
  }
  const version = bytes.readUInt8(4);
  const codec = bytes.readUInt8(5);
  const flags = bytes.readUInt16LE(6);
  if (version !== VERSION || (codec !== 0 && codec !== 1) || flags > SEALED) {
    throw new PermanentError('unknown_format', 'the chunk record was written by a newer version of openservice');
  }
  const head: RecordHead = {
    codec,
    sealed: flags === SEALED,
    id: Buffer.from(bytes.subarray(8, 40)),
    rawLength: bytes.readUInt32LE(40),
    payloadLength: bytes.readUInt32LE(44),
    frameSize: bytes.readUInt32LE(48),
    frameCount: bytes.readUInt32LE(52),
  };
  if (head.frameSize === 0 || head.frameCount !== Math.ceil(head.rawLength / head.frameSize)) {
    throw new PermanentError('damaged_chunk', 'the lengths in the header of the chunk record contradict each other');
  }
  return head;
}

/** The nonce of a sealed record; null of any other. `bytes`: the record from its start, at least to the payload. */
export function readNonce(bytes: Buffer, head: RecordHead): Buffer | null {
  const end = recordPrefixBytes(head.frameCount, head.sealed);
  return head.sealed ? bytes.subarray(end - NONCE_BYTES, end) : null;
}

/** `bytes`: the record from its start, at least to the end of the frame table. */
export function readFrameTable(bytes: Buffer, head: RecordHead): FrameTable {
  const table: FrameTable = { frames: [], crcs: [] };
  let sum = 0;
  for (let i = 0, at = RECORD_HEAD_BYTES; i < head.frameCount; i++, at += FRAME_ENTRY_BYTES) {
    const length = bytes.readUInt32LE(at);
    sum += length;
    table.frames.push(length);
    table.crcs.push(bytes.readUInt32LE(at + 4));
  }
  if (sum !== head.payloadLength) throw new PermanentError('damaged_chunk', 'the frame table of the chunk record is damaged');
  return table;
}
