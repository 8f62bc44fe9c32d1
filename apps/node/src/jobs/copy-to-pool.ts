/** A block that one pool holds comes into another: what upload, copy, move and restore do alike. */
import type { JobContext } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { BlockReader } from '@openservice/pools';
import type { BlockMeta, BlockRef, JobResult } from '@openservice/protocol';
import type { JobDeps } from './deps.ts';
import { dropFromPool, sessionOf } from './pool-target.ts';
import { replicate } from './replicate.ts';

interface Params {
  block: BlockRef;
  from_pool_id: string;
  meta?: BlockMeta | undefined;
}

/** `newBlockId`: the copy is a block of its own; left out: a replica of the same. Inside one pool no data moves where the pool can do that. */
export async function copyToPool(
  deps: JobDeps,
  context: JobContext<Params>,
  poolId: string,
  newBlockId: string = context.params.block.id,
): Promise<JobResult> {
  const { params, signal } = context;
  const block = { ...blockOf(params.block), id: newBlockId };
  const pool = await deps.pools.get(poolId, signal);
  // Opened below without `block_exists`, what is committed here is by this very job.
  const committed = (await pool.stat(block.id, signal)) !== null;
  const session = sessionOf(context, block);
  const sibling = !committed && params.from_pool_id === poolId && newBlockId !== params.block.id;
  const clone = sibling ? await pool.openClone(params.block.id, session, signal) : null;
  const writer = clone ?? (await pool.openWriter(session, signal));
  return replicate({
    context,
    writer,
    whole: committed || clone !== null,
    block,
    poolId,
    limits: deps.limits.of([params.from_pool_id, poolId]),
    expectedRoot: Buffer.from(params.block.root_digest, 'hex'),
    openSource: () => openReplica(deps, params.from_pool_id, params.block, signal),
  });
}

export function dropCopy(
  deps: JobDeps,
  context: Pick<JobContext<Params>, 'jobId' | 'attempt' | 'fence' | 'params' | 'signal' | 'log'>,
  poolId: string,
  newBlockId: string = context.params.block.id,
): Promise<void> {
  return dropFromPool(deps, poolId, sessionOf(context, { ...blockOf(context.params.block), id: newBlockId }), context);
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
