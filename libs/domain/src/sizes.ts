export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** Bytes in a chunk unless the block's manifest says otherwise. */
export const DEFAULT_CHUNK_SIZE = MIB;

/** Largest block: 64 TiB. */
export const MAX_BLOCK_SIZE = 64 * 1024 * GIB;

/** Largest chunk: 16 MiB. */
export const MAX_CHUNK_SIZE = 16 * MIB;

/** Most chunks of a block: those of 1 MiB that the largest has. */
export const MAX_CHUNKS = MAX_BLOCK_SIZE / DEFAULT_CHUNK_SIZE;

/** True for a size and a chunk size, in bytes, of which a block can be: what others wrote must not make this process count or allocate without end. */
export function isBlockShape(size: number, chunkSize: number): boolean {
  const whole = Number.isSafeInteger(size) && Number.isSafeInteger(chunkSize);
  const inRange = size >= 0 && size <= MAX_BLOCK_SIZE && chunkSize >= 1 && chunkSize <= MAX_CHUNK_SIZE;
  return whole && inRange && chunkCount(size, chunkSize) <= MAX_CHUNKS;
}

/** Number of chunks of `chunkSize` bytes that cover `size` bytes. */
export function chunkCount(size: number, chunkSize: number): number {
  return Math.ceil(size / chunkSize);
}

/** Length in bytes of chunk `index`: `chunkSize`, but less for the last one of a block that is no multiple of it. */
export function chunkLength(size: number, chunkSize: number, index: number): number {
  return Math.min(chunkSize, size - index * chunkSize);
}
