/**
 * A damaged chunk of an image is written anew in its place. Of a damaged file of digests, one digest is: when with it, and only with it, the
 * digests make up the block's root digest. Nothing is shared here, so no other block has to know, and nothing has to be marked.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { ChunkWorkers } from '@openservice/codec';
import { chunkCount, chunkLength, PermanentError } from '@openservice/domain';
import { writeAt } from '../fs/durable.ts';
import { DIGEST_BYTES, isHole } from '../manifest.ts';
import type { CommittedDetail } from './claim.ts';
import { digestOffset } from './part-files.ts';
import { rootOfDigests } from './root-digest.ts';

export interface RepairedBlock {
  blockId: string;
  detail: CommittedDetail;
  paths: { data: string; digests: string };
  /** Once the files are open: throws where they are not the block's any more. */
  mustStand: () => Promise<void>;
}

/** As Pool.repair. PermanentError `out_of_range` for a hole or a chunk that the block does not have. */
export async function repairRawChunk(
  block: RepairedBlock,
  workers: ChunkWorkers,
  index: number,
  bytes: Buffer | null,
  signal: AbortSignal,
): Promise<void> {
  const { size, chunkSize } = block.detail;
  if (index < 0 || index >= chunkCount(size, chunkSize)) throw notStored(block, index);
  const data = await open(block.paths.data, constants.O_RDWR);
  try {
    const digests = await open(block.paths.digests, constants.O_RDWR);
    try {
      await block.mustStand();
      const stored = await digestAt(digests, index);
      if (bytes === null) return;
      const given = bytes.length === chunkLength(size, chunkSize, index) ? await workers.digest(bytes) : null;
      if (given === null || isHole(given)) throw isHole(stored) ? notStored(block, index) : mismatch(block, index);
      const trueDigest = given.equals(stored) || (await completesRoot(block, digests, index, given, signal));
      if (!trueDigest) throw isHole(stored) ? notStored(block, index) : mismatch(block, index);
      // The whole chunk, its zeros too: what stands there may be anything.
      await writeAt(data, bytes, index * chunkSize);
      await data.datasync();
      if (given.equals(stored)) return;
      await writeAt(digests, given, digestOffset(index));
      await digests.datasync();
    } finally {
      await digests.close();
    }
  } finally {
    await data.close();
  }
}

/** The digest that stands for the chunk; of a file that was cut, the hole's. */
async function digestAt(digests: FileHandle, index: number): Promise<Buffer> {
  const digest = Buffer.alloc(DIGEST_BYTES);
  await digests.read(digest, 0, DIGEST_BYTES, digestOffset(index));
  return digest;
}

async function completesRoot(
  { blockId, detail }: RepairedBlock,
  digests: FileHandle,
  index: number,
  digest: Buffer,
  signal: AbortSignal,
): Promise<boolean> {
  const root = await rootOfDigests(blockId, digests, detail, signal, { index, digest });
  return root.toString('hex') === detail.rootDigest;
}

function notStored({ blockId }: RepairedBlock, index: number): PermanentError {
  return new PermanentError('out_of_range', `Block ${blockId} has no stored chunk ${index}.`);
}

function mismatch({ blockId }: RepairedBlock, index: number): PermanentError {
  return new PermanentError('digest_mismatch', `The bytes given for chunk ${index} of block ${blockId} are not that chunk's.`);
}
