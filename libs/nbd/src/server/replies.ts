/** Replies to requests, simple and structured. A cookie is eight bytes that go back as they came: two numbers of 32 bits here. */
import type { DeviceExtent } from '../device.ts';
import { REPLY, REPLY_DONE, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC } from '../wire.ts';
import { ALLOCATION_ID } from './numbers.ts';

export const SIMPLE_BYTES = 16;
export const CHUNK_BYTES = 20;
/** A data chunk's head: that of every chunk, and the offset. */
export const DATA_HEAD_BYTES = CHUNK_BYTES + 8;
const STATE_HOLE = 1;
const STATE_ZERO = 2;

export interface Cookie {
  high: number;
  low: number;
}

export function writeSimple(into: Buffer, at: number, { high, low }: Cookie, errno: number): void {
  into.writeUInt32BE(SIMPLE_REPLY_MAGIC, at);
  into.writeUInt32BE(errno, at + 4);
  into.writeUInt32BE(high, at + 8);
  into.writeUInt32BE(low, at + 12);
}

/** The head of the one chunk that answers a READ whole; its `length` bytes of data follow. */
export function writeDataHead(into: Buffer, at: number, cookie: Cookie, offset: number, length: number): void {
  writeChunkHead(into, at, cookie, REPLY.data, 8 + length);
  // Without a BigInt: this stands in the way of every read.
  into.writeUInt32BE(Math.floor(offset / 0x1_0000_0000), at + CHUNK_BYTES);
  into.writeUInt32BE(offset % 0x1_0000_0000, at + CHUNK_BYTES + 4);
}

export function errorChunk(cookie: Cookie, errno: number, words: string): Buffer {
  const text = Buffer.from(words.slice(0, 512));
  const bytes = Buffer.alloc(CHUNK_BYTES + 6 + text.length);
  writeChunkHead(bytes, 0, cookie, REPLY.error, 6 + text.length);
  bytes.writeUInt32BE(errno, CHUNK_BYTES);
  bytes.writeUInt16BE(text.length, CHUNK_BYTES + 4);
  text.copy(bytes, CHUNK_BYTES + 6);
  return bytes;
}

export function statusChunk(cookie: Cookie, extents: readonly DeviceExtent[]): Buffer {
  const bytes = Buffer.alloc(CHUNK_BYTES + 4 + extents.length * 8);
  writeChunkHead(bytes, 0, cookie, REPLY.blockStatus, 4 + extents.length * 8);
  bytes.writeUInt32BE(ALLOCATION_ID, CHUNK_BYTES);
  extents.forEach(({ length, zero, hole }, i) => {
    bytes.writeUInt32BE(length, CHUNK_BYTES + 4 + i * 8);
    bytes.writeUInt32BE((hole ? STATE_HOLE : 0) | (zero ? STATE_ZERO : 0), CHUNK_BYTES + 8 + i * 8);
  });
  return bytes;
}

function writeChunkHead(into: Buffer, at: number, { high, low }: Cookie, type: number, length: number): void {
  into.writeUInt32BE(STRUCTURED_REPLY_MAGIC, at);
  into.writeUInt16BE(REPLY_DONE, at + 4);
  into.writeUInt16BE(type, at + 6);
  into.writeUInt32BE(high, at + 8);
  into.writeUInt32BE(low, at + 12);
  into.writeUInt32BE(length, at + 16);
}
