import { jobParams } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
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

/** Plans the replica once more, where block and source are still as the job was told. */
export async function planReplicaAgain(
  manager: EntityManager,
  job: Job,
  next: string,
  params: { block: { root_digest: string }; from_pool_id: string; to: string | null },
): Promise<string | null> {
  const block = await lockBlock(manager, job.block_id);
  if (block?.state !== 'available') return `block ${job.block_id} is ${block?.state ?? 'gone'}, not available.`;
  if (block.root_digest !== params.block.root_digest) return 'the block has other content now.';
  const [source] = await manager.query<unknown[]>(
    "SELECT pool_id FROM replicas WHERE block_id = ? AND pool_id = ? AND state = 'available'",
    [block.id, params.from_pool_id],
  );
  if (source === undefined) return `pool ${params.from_pool_id} no longer has the block.`;
  if (params.to === null) return null;
  if (!(await poolIsAvailable(manager, params.to))) return `pool ${params.to} is not available.`;
  if (!(await replicaPlanned(manager, block.id, params.to, next))) return `pool ${params.to} has the block already.`;
  return null;
}

export const uploadEffects: KindEffects = {
  ...replicaEffects,
  async again(manager, job, next) {
    const params = jobParams.upload.parse(job.params);
    return planReplicaAgain(manager, job, next, { ...params, to: params.pool_id });
  },
};
