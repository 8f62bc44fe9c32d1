/** A block that one pool holds comes into another: what upload and restore do alike. */
import type { JobContext } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { BlockReader } from '@openservice/pools';
import type { BlockRef, JobResult } from '@openservice/protocol';
import type { JobDeps } from './deps.ts';
import { dropFromPool, sessionOf } from './pool-target.ts';
import { replicate } from './replicate.ts';

export async function copyToPool(
  deps: JobDeps,
  context: JobContext<{ block: BlockRef; from_pool_id: string }>,
  poolId: string,
): Promise<JobResult> {
  const { params, signal } = context;
  const block = blockOf(params.block);
  const pool = await deps.pools.get(poolId, signal);
  // Opened below without `block_exists`, what is committed here is by this very job.
  const committed = (await pool.stat(block.id, signal)) !== null;
  const writer = await pool.openWriter(sessionOf(context, block), signal);
  return replicate({
    context,
    writer,
    committed,
    block,
    poolId,
    expectedRoot: Buffer.from(params.block.root_digest, 'hex'),
    openSource: () => openReplica(deps, params.from_pool_id, params.block, signal),
  });
}

export function dropCopy(
  deps: JobDeps,
  context: Pick<JobContext<{ block: BlockRef }>, 'jobId' | 'attempt' | 'fence' | 'params' | 'signal' | 'log'>,
  poolId: string,
): Promise<void> {
  return dropFromPool(deps, poolId, sessionOf(context, blockOf(context.params.block)), context);
}

/** A reader of just this block: PermanentError `digest_mismatch` before a byte is copied when the pool holds something else. */
export async function openReplica(deps: JobDeps, poolId: string, block: BlockRef, signal: AbortSignal): Promise<BlockReader> {
  const pool = await deps.pools.get(poolId, signal);
  const reader = await pool.openReader(block.id, signal);
  const same = reader.size === block.size && reader.chunkSize === block.chunk_size;
  if (same && reader.rootDigest.toString('hex') === block.root_digest) return reader;
  await reader.close();
  throw new PermanentError(
    'digest_mismatch',
    `Pool ${poolId} holds ${block.id} with digest ${reader.rootDigest.toString('hex')} and ${reader.size} bytes; expected were ${block.root_digest} and ${block.size} bytes. Use another replica.`,
  );
}

export function blockOf(block: BlockRef) {
  return { id: block.id, size: block.size, chunkSize: block.chunk_size };
}
