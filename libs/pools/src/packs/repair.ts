/** A chunk whose place is damaged is made good for every block that shares it: a good record beside the pack, looked for when the place fails. */
import { type ChunkWorkers, sharedBuffer } from '@openservice/codec';
import { chunkCount, PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { DIGEST_BYTES, isHole } from '../manifest.ts';
import type { PoolKeys } from '../sealed/keys.ts';
import { newSeal } from './chunk-seal.ts';
import { damagedKey, repairKey } from './keys.ts';
import type { PackedManifest } from './packed-manifest.ts';
import { chunkId } from './pool-mark.ts';
import { FRAME_BYTES, maxRecordBytes, writeRecord, ZSTD_LEVEL } from './record.ts';
import { SEGMENT_CHUNKS } from './segment.ts';
import { SegmentCache } from './segment-cache.ts';

interface Parts {
  backend: Backend;
  workers: ChunkWorkers;
  keys: PoolKeys | null;
  digestKey: Buffer;
}

/** As Pool.repair. PermanentError `out_of_range` for a hole or a chunk that the block does not have. */
export async function repairChunk(
  { backend, workers, keys, digestKey }: Parts,
  block: { id: string; fence: number; manifest: PackedManifest },
  index: number,
  bytes: Buffer | null,
  signal: AbortSignal,
): Promise<void> {
  const { size, chunkSize } = block.manifest;
  const segment = Math.floor(index / SEGMENT_CHUNKS);
  const segments = new SegmentCache(backend, block.id, block.fence, block.manifest, signal);
  const inside = index >= 0 && index < chunkCount(size, chunkSize) && !segments.isHole(segment);
  const found = inside ? await segments.get(segment) : null;
  const place = found?.locations.get(index % SEGMENT_CHUNKS) ?? null;
  if (found === null || place === null)
    throw new PermanentError('out_of_range', `Block ${block.id} has no stored chunk ${index}.`);
  // Marked first: from then on nobody new relies on the place, whatever becomes of the repair.
  await backend.put(damagedKey(place.pack, place.offset), Buffer.from('{}\n'), signal);
  if (bytes === null) return;
  const at = (index % SEGMENT_CHUNKS) * DIGEST_BYTES;
  const digest = found.digests.subarray(at, at + DIGEST_BYTES);
  const given = await workers.digest(bytes);
  if (isHole(digest) || !given.equals(digest))
    throw new PermanentError('digest_mismatch', `The bytes given for chunk ${index} of block ${block.id} are not that chunk's.`);
  const id = chunkId(digestKey, digest);
  const { nonce, seal } = newSeal(keys, id);
  const room = maxRecordBytes(bytes.length, FRAME_BYTES, nonce !== null);
  const chunk = await workers.encode(bytes, sharedBuffer(room), { frameSize: FRAME_BYTES, level: ZSTD_LEVEL, ...seal });
  const record = Buffer.alloc(room);
  const length = writeRecord(record, 0, id, bytes.length, FRAME_BYTES, chunk, nonce);
  await backend.put(repairKey(place.pack, place.offset), record.subarray(0, length), signal);
}
