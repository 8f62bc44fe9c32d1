/**
 * What a chunk worker does, as plain functions: digest, cut into frames, compress, check, decompress. They block the
 * thread they run on, so only `chunk-worker.ts` calls them.
 */
import { blake3 } from '@napi-rs/blake-hash';
import { crc32c } from '@node-rs/crc32';
import { PermanentError } from '@openservice/domain';
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
}

/** BLAKE3-256 of `bytes`; 32 zero bytes when all are zero. memcmp leaves at the first byte that differs, so data pays nothing. */
export function digestChunk(bytes: Buffer): Buffer {
  return isZero(bytes) ? HOLE_DIGEST : blake3(bytes);
}

/** Fills `out` (≥ bytes.length) with the frames of `bytes`; as they are when zstd makes no gain over the whole chunk. */
export function encodeChunk(bytes: Buffer, out: Buffer, options: { frameSize: number; level: number }): FrameList {
  if (out.length < bytes.length) throw new RangeError(`encode: out has ${out.length} bytes, the chunk ${bytes.length}`);
  return compress(bytes, out, options) ?? keep(bytes, out, options.frameSize);
}

/** PermanentError `damaged_chunk` when a frame's CRC32C or a length is wrong. */
export function decodeChunk(stored: Buffer, target: Buffer, layout: StoredLayout): Buffer {
  checkLengths(stored, target, layout);
  let from = 0;
  let to = 0;
  for (const [i, length] of layout.frames.entries()) {
    const frame = stored.subarray(from, from + length);
    if (crc32c(frame) !== layout.crcs[i]) throw damaged(`frame ${i} fails its CRC32C`);
    const plain = Math.min(layout.frameSize, layout.rawLength - to);
    const into = target.subarray(to, to + plain);
    const got = layout.codec === 0 ? copyWhole(frame, into) : zstd.decompress(frame, into);
    if (got !== plain) throw damaged(`frame ${i} does not hold the ${plain} bytes that belong there`);
    from += length;
    to += plain;
  }
  return digestChunk(target.subarray(0, layout.rawLength));
}

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length);
    if (!part.equals(part.length === ZEROS.length ? ZEROS : ZEROS.subarray(0, part.length))) return false;
  }
  return true;
}

/** Null as soon as the frames are no shorter than the chunk. */
function compress(bytes: Buffer, out: Buffer, options: { frameSize: number; level: number }): FrameList | null {
  const list: FrameList = { codec: 1, frames: [], crcs: [], length: 0 };
  for (let at = 0; at < bytes.length; at += options.frameSize) {
    const room = out.subarray(list.length, bytes.length - 1);
    const length = zstd.compress(bytes.subarray(at, at + options.frameSize), room, options.level);
    if (length === null) return null;
    add(list, room.subarray(0, length));
  }
  return list;
}

function keep(bytes: Buffer, out: Buffer, frameSize: number): FrameList {
  const list: FrameList = { codec: 0, frames: [], crcs: [], length: 0 };
  bytes.copy(out);
  for (let at = 0; at < bytes.length; at += frameSize) add(list, out.subarray(at, Math.min(at + frameSize, bytes.length)));
  return list;
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
