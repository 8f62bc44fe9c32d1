/**
 * Work on chunks that is too heavy for the event loop. `workers.ts` runs it on worker threads; buffers made by
 * `sharedBuffer` travel to them without a copy, any other is copied once.
 */

import type { EncodeOptions } from './room.ts';

export interface EncodedChunk {
  /** 0: raw, 1: zstd frames. Raw where zstd would not shrink the chunk. */
  codec: 0 | 1;
  /** Stored length in bytes of each frame, in order. A raw chunk has one "frame" per frameSize too. */
  frames: number[];
  /** The frames, one after the other: a view of the `out` given. */
  bytes: Buffer;
  /** CRC32C of each frame's stored bytes. */
  crcs: number[];
}

/** AES-256-GCM around each frame (docs/format.md, Encryption); a sealed frame is SEAL_BYTES longer. */
export interface ChunkSeal {
  /** 32 bytes, made for this one record alone: so a frame's number may serve as its nonce. */
  key: Buffer;
  /** Authenticated with each frame: what the chunk is. */
  aad: Buffer;
  /** Number in the chunk of the first frame that is given; default 0. */
  firstFrame?: number;
}

export interface ChunkWorkers {
  /** BLAKE3-256 of `bytes`; 32 zero bytes when all of them are zero. */
  digest(bytes: Buffer): Promise<Buffer>;
  /**
   * Reads all of `target`, which is shared, from a file that is open, and answers its digest as above: for what the kernel has in memory, which
   * is cheaper to read where it is digested. Null, and nothing is known of what `target` holds, where it would have to wait for a disk, where
   * the file ends before, and where this cannot be done.
   */
  digestCached(fd: number, offset: number, target: Buffer): Promise<Buffer | null>;
  /**
   * Cuts `bytes` into frames of `frameSize` bytes and compresses each by itself with zstd `level` into `out` (≥ roomToEncode). CRCs are
   * of what is stored, so of sealed bytes.
   */
  encode(bytes: Buffer, out: Buffer, options: EncodeOptions): Promise<EncodedChunk>;
  /**
   * Decodes frames into `target` and answers the digest of what came out, which the caller compares (with `part`, as they are not all of a chunk:
   * 32 zero bytes, and each frame's CRC32C was compared). Throws PermanentError `damaged_chunk` when a frame cannot be what was stored.
   */
  decode(
    stored: Buffer,
    target: Buffer,
    layout: {
      codec: 0 | 1;
      frames: number[];
      crcs: number[];
      frameSize: number;
      rawLength: number;
      seal?: ChunkSeal;
      part?: boolean;
    },
  ): Promise<Buffer>;
  close(): Promise<void>;
}
