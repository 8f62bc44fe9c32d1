import { type ChunkWorkers, sharedBuffer } from '@openservice/codec';
import { FRAME_BYTES } from '../packs/record.ts';
import type { StoredChunk } from '../pool.ts';

const LEVEL = 1;

/** A chunk in frames for the wire. `out`: shared memory as long as `bytes`, which the chunk is then a view of; left out: made anew. */
export async function encodeChunk(
  workers: ChunkWorkers,
  digest: Buffer,
  bytes: Buffer,
  out: Buffer = sharedBuffer(bytes.length),
): Promise<StoredChunk> {
  const encoded = await workers.encode(bytes, out, { frameSize: FRAME_BYTES, level: LEVEL });
  return { ...encoded, digest, frameSize: FRAME_BYTES, rawLength: bytes.length };
}
