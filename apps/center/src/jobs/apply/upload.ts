import { type BlockRef, jobParams } from '@openservice/protocol';
import type { EntityManager } from '@openservice/store';
import { type KindEffects, lockBlock, poolIsAvailable, replicaAbandoned, replicaArrived, replicaPlanned } from './effects.ts';

/** The same for an upload and a restore into a pool: a further replica of an available block, or none. */
export const replicaEffects: Pick<KindEffects, 'succeeded' | 'ended'> = {
  async succeeded(manager, job, result) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null) return;
    for (const replica of result.replicas) {
      if (replica.state !== 'available') continue;
      await replicaArrived(manager, block, replica.pool_id, replica.stored_bytes, result.verified);
    }
  },

  async ended(manager, job) {
    await lockBlock(manager, job.block_id);
    await replicaAbandoned(manager, job);
  },
};

/** Why a job that reads the block in that pool cannot do so any more; null when it can. */
export async function sourceGone(
  manager: EntityManager,
  told: Pick<BlockRef, 'id' | 'root_digest'>,
  poolId: string,
): Promise<string | null> {
  const block = await lockBlock(manager, told.id);
  if (block?.state !== 'available') return `block ${told.id} is ${block?.state ?? 'gone'}, not available.`;
  if (block.root_digest !== told.root_digest) return 'the block has other content now.';
  const [source] = await manager.query<unknown[]>(
    "SELECT pool_id FROM replicas WHERE block_id = ? AND pool_id = ? AND state = 'available'",
    [block.id, poolId],
  );
  return source === undefined ? `pool ${poolId} no longer has the block.` : null;
}

/** Plans the replica once more, where block and source are still as the job was told. */
export async function planReplicaAgain(
  manager: EntityManager,
  next: string,
  params: { block: BlockRef; from_pool_id: string; to: string | null },
): Promise<string | null> {
  const gone = await sourceGone(manager, params.block, params.from_pool_id);
  if (gone !== null || params.to === null) return gone;
  if (!(await poolIsAvailable(manager, params.to))) return `pool ${params.to} is not available.`;
  if (!(await replicaPlanned(manager, params.block.id, params.to, next))) return `pool ${params.to} has the block already.`;
  return null;
}

export const uploadEffects: KindEffects = {
  ...replicaEffects,
  async again(manager, job, next) {
    const params = jobParams.upload.parse(job.params);
    return planReplicaAgain(manager, next, { ...params, to: params.pool_id });
  },
};
