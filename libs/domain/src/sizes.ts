export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** Bytes in a chunk unless the block's manifest says otherwise. */
export const DEFAULT_CHUNK_SIZE = MIB;

/** Largest block: 64 TiB. */
export const MAX_BLOCK_SIZE = 64 * 1024 * GIB;

/** Number of chunks of `chunkSize` bytes that cover `size` bytes. */
export function chunkCount(size: number, chunkSize: number): number {
  return Math.ceil(size / chunkSize);
}

/** Length in bytes of chunk `index`: `chunkSize`, but less for the last one of a block that is no multiple of it. */
export function chunkLength(size: number, chunkSize: number, index: number): number {
  return Math.min(chunkSize, size - index * chunkSize);
}
