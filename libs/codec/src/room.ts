import type { ChunkSeal } from './port.ts';

/** Bytes of the GCM tag that ends a sealed frame. */
export const SEAL_BYTES = 16;

export interface EncodeOptions {
  /** Raw bytes of each frame. */
  frameSize: number;
  /** Of zstd. */
  level: number;
  seal?: ChunkSeal;
}

/** Bytes that `out` must have to encode a chunk of `length` bytes. */
export function roomToEncode(length: number, options: Pick<EncodeOptions, 'frameSize' | 'seal'>): number {
  return length + (options.seal === undefined ? 0 : SEAL_BYTES * Math.ceil(length / options.frameSize));
}
