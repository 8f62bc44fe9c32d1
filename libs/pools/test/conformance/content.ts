/** Content of test blocks: the same in every run, so that its root digest can be written down. */
import { blake3 } from '@napi-rs/blake-hash';
import { chunkCount, chunkLength } from '@openservice/domain';
import { type BlockWriter, HOLE_DIGEST, RootHasher } from '@openservice/pools';

export interface TestBlock {
  size: number;
  chunkSize: number;
  /** Chunks that hold data; all others are holes. */
  data: ReadonlySet<number>;
  /** Blocks of different seeds share no chunk. Default 0. */
  seed?: number;
}

const signal = new AbortController().signal;

/** Half of each chunk does not compress, a quarter does, a quarter is zeros. */
export function chunkBytes(block: TestBlock, index: number): Buffer {
  const bytes = Buffer.alloc(chunkLength(block.size, block.chunkSize, index));
  if (!block.data.has(index)) return bytes;
  const seed = block.seed ?? 0;
  let state = (index + 1) * 2654435761 + Math.imul(seed, 0x9e3779b1);
  const half = bytes.length >>> 1;
  for (let i = 0; i < half; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[i] = state >>> 24;
  }
  bytes.fill(`chunk ${index} of a disk; `, half, half + (bytes.length >>> 2));
  bytes[0] = (index % 255) + 1;
  if (seed > 0 && bytes.length > 8) bytes.writeUInt32LE(seed, 1);
  return bytes;
}

export function digestOf(bytes: Buffer): Buffer {
  return bytes.every((byte) => byte === 0) ? HOLE_DIGEST : blake3(bytes);
}

export function digestAt(block: TestBlock, index: number): Buffer {
  return block.data.has(index) ? digestOf(chunkBytes(block, index)) : HOLE_DIGEST;
}

export function count(block: TestBlock): number {
  return chunkCount(block.size, block.chunkSize);
}

/** The root digest by its definition, from the content alone. */
export function rootOf(block: TestBlock): Buffer {
  const hasher = new RootHasher(block);
  for (let index = 0; index < count(block); index++) hasher.update(digestAt(block, index));
  return hasher.digest();
}

export async function putChunk(writer: BlockWriter, block: TestBlock, index: number): Promise<void> {
  const bytes = chunkBytes(block, index);
  await writer.put(index, digestOf(bytes), bytes, signal);
}

/** Puts or marks all that the writer does not have; answers which chunks it put. */
export async function fill(writer: BlockWriter, block: TestBlock): Promise<number[]> {
  const put: number[] = [];
  for (let index = 0; index < count(block); index++) {
    if (writer.has(index)) continue;
    if (block.data.has(index)) {
      await putChunk(writer, block, index);
      put.push(index);
    } else writer.hole(index, 1);
  }
  return put;
}
