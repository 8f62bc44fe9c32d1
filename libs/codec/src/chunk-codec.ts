/**
 * What a chunk worker does, as plain functions: digest, cut into frames, compress, check, decompress. They block the
 * thread they run on, so only `chunk-worker.ts` calls them.
 */
import { blake3 } from '@napi-rs/blake-hash';
import { crc32c } from '@node-rs/crc32';
import { PermanentError } from '@openservice/domain';
import type { ChunkSeal } from './port.ts';
import { type EncodeOptions, roomToEncode } from './room.ts';
import { openFrame, sealFrame } from './seal.ts';
import { createZstd } from './zstd.ts';

const zstd = createZstd();

const ZEROS = Buffer.alloc(64 * 1024);
const HOLE_DIGEST = Buffer.alloc(32);

export interface FrameList {
  codec: 0 | 1;
  frames: number[];
  crcs: number[];
  /** Bytes written to `out`. */
  length: number;
}

export interface StoredLayout {
  codec: 0 | 1;
  frames: number[];
  crcs: number[];
  frameSize: number;
  rawLength: number;
  seal?: ChunkSeal;
  /** Some frames of a chunk: their digest would say nothing, and is not made. */
  part?: boolean;
}

/** BLAKE3-256 of `bytes`; 32 zero bytes when all are zero. memcmp leaves at the first byte that differs, so data pays nothing. */
export function digestChunk(bytes: Buffer): Buffer {
  return isZero(bytes) ? HOLE_DIGEST : blake3(bytes);
}

/** Fills `out` (≥ roomToEncode) with the frames of `bytes`; as they are when zstd makes no gain over the whole chunk. */
export function encodeChunk(bytes: Buffer, out: Buffer, options: EncodeOptions): FrameList {
  const room = roomToEncode(bytes.length, options);
  if (out.length < room) throw new RangeError(`encode: out has ${out.length} bytes, ${room} are needed`);
  return compress(bytes, out, options) ?? keep(bytes, out, options);
}

/**
 * PermanentError `damaged_chunk` when a length is wrong, a sealed frame does not open or one does not hold what it should; of a `part`, when a
 * frame's CRC32C is wrong. Of a whole chunk the digest says that, and more.
 */
export function decodeChunk(stored: Buffer, target: Buffer, layout: StoredLayout): Buffer {
  checkLengths(stored, target, layout);
  let from = 0;
  let to = 0;
  for (const [i, length] of layout.frames.entries()) {
    const frame = stored.subarray(from, from + length);
    if (layout.part === true && crc32c(frame) !== layout.crcs[i]) throw damaged(`frame ${i} fails its CRC32C`);
    const open = layout.seal === undefined ? frame : openFrame(frame, layout.seal, i);
    if (open === null) {
      const bad = crc32c(frame) !== layout.crcs[i];
      throw damaged(bad ? `frame ${i} fails its CRC32C` : `frame ${i} does not open with this pool's key`);
    }
    const plain = Math.min(layout.frameSize, layout.rawLength - to);
    const into = target.subarray(to, to + plain);
    const got = layout.codec === 0 ? copyWhole(open, into) : zstd.decompress(open, into);
    if (got !== plain) throw damaged(`frame ${i} does not hold the ${plain} bytes that belong there`);
    from += length;
    to += plain;
  }
  return layout.part === true ? HOLE_DIGEST : digestChunk(target.subarray(0, layout.rawLength));
}

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length);
    if (!part.equals(part.length === ZEROS.length ? ZEROS : ZEROS.subarray(0, part.length))) return false;
  }
  return true;
}

/** Null as soon as the frames are no shorter than the chunk. */
function compress(bytes: Buffer, out: Buffer, options: EncodeOptions): FrameList | null {
  const { frameSize, level, seal } = options;
  const list: FrameList = { codec: 1, frames: [], crcs: [], length: 0 };
  for (let at = 0; at < bytes.length; at += frameSize) {
    const room = out.subarray(list.length, bytes.length - 1);
    const plain = bytes.subarray(at, at + frameSize);
    const packed = seal === undefined ? room : scratch(plain.length);
    const length = zstd.compress(plain, packed, level);
    if (length === null) return null;
    const stored = seal === undefined ? length : sealFrame(packed.subarray(0, length), room, seal, list.frames.length);
    if (stored === null) return null;
    add(list, room.subarray(0, stored));
  }
  return list;
}

function keep(bytes: Buffer, out: Buffer, { frameSize, seal }: EncodeOptions): FrameList {
  const list: FrameList = { codec: 0, frames: [], crcs: [], length: 0 };
  for (let at = 0; at < bytes.length; at += frameSize) {
    const plain = bytes.subarray(at, at + frameSize);
    const room = out.subarray(list.length);
    const length = seal === undefined ? plain.copy(room) : sealFrame(plain, room, seal, list.frames.length);
    if (length === null) throw new RangeError('encode: out is too short for the seals');
    add(list, room.subarray(0, length));
  }
  return list;
}

let spare = Buffer.alloc(0);

/** A frame that does not shrink is of no use, so it need not fit. */
function scratch(length: number): Buffer {
  if (spare.length < length) spare = Buffer.allocUnsafeSlow(length);
  return spare.subarray(0, length);
}

function add(list: FrameList, frame: Buffer): void {
  list.frames.push(frame.length);
  list.crcs.push(crc32c(frame));
  list.length += frame.length;
}

function copyWhole(frame: Buffer, into: Buffer): number | null {
  return frame.length === into.length ? frame.copy(into) : null;
}

function checkLengths(stored: Buffer, target: Buffer, layout: StoredLayout): void {
  const sum = layout.frames.reduce((total, length) => total + length, 0);
  if (sum !== stored.length) throw damaged(`its frames take ${sum} bytes, ${stored.length} are stored`);
  const count = Math.ceil(layout.rawLength / layout.frameSize);
  if (layout.frames.length !== count || layout.crcs.length !== count) {
    throw damaged(`it has ${layout.frames.length} frames where ${count} belong`);
  }
  if (target.length < layout.rawLength) {
    throw new RangeError(`decode: target has ${target.length} bytes, the chunk ${layout.rawLength}`);
  }
}

function damaged(what: string): PermanentError {
  return new PermanentError('damaged_chunk', `A stored chunk is damaged: ${what}.`);
}
