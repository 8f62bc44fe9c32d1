import { type JobResult, jobParams } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { readerOf } from '../../services/instance-use.ts';
import {
  type BlockRow,
  type KindEffects,
  lockBlock,
  replicaAbandoned,
  replicaArrived,
  replicaGone,
  replicasOf,
} from './effects.ts';
import { planReplicaAgain } from './upload.ts';

/**
 * The turning point of a move, told by the node or seen in its result: the target is the replica, the source is on its way out. From here on
 * nothing makes the source good again: its removal may have begun, so a delete of it that fails leaves it `damaged`. Repeated: nothing.
 */
export async function moveRecorded(manager: EntityManager, job: Job, block: BlockRow, result: JobResult): Promise<void> {
  const { pool_id, from_pool_id } = jobParams.move.parse(job.params);
  const target = result.replicas.find((replica) => replica.pool_id === pool_id && replica.state === 'available');
  if (target === undefined) return;
  await replicaArrived(manager, block, pool_id, target.stored_bytes, result.verified);
  if (!(await isThere(manager, block, pool_id))) return;
  await manager.query(
    `UPDATE replicas SET state = 'deleting', was_damaged = 1, job_id = ?
     WHERE block_id = ? AND pool_id = ? AND state IN ('available', 'damaged')`,
    [job.id, block.id, from_pool_id],
  );
}

export async function isThere(manager: EntityManager, block: BlockRow, poolId: string): Promise<boolean> {
  return (await replicasOf(manager, block.id)).some((replica) => replica.pool_id === poolId && replica.state === 'available');
}

export const moveEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null) return;
    const { from_pool_id } = jobParams.move.parse(job.params);
    await moveRecorded(manager, job, block, result);
    const removed = result.replicas.some((replica) => replica.pool_id === from_pool_id && replica.state === 'removed');
    const source = (await replicasOf(manager, block.id)).find((replica) => replica.pool_id === from_pool_id);
    if (removed && source !== undefined) await replicaGone(manager, block, source);
  },

  /** Before the record: the target never came to be, the source is as it was. After it: reconcile removes what is left of the source. */
  async ended(manager, job) {
    await lockBlock(manager, job.block_id);
    await replicaAbandoned(manager, job);
  },

  async again(manager, job, next) {
    const params = jobParams.move.parse(job.params);
    const block = await lockBlock(manager, job.block_id);
    if (block !== null && (await isThere(manager, block, params.pool_id)))
      return `the block is in pool ${params.pool_id} already; what is left in pool ${params.from_pool_id} is removed by itself.`;
    const reader = await readerOf(manager, params.block.id);
    if (reader !== null) return `instance ${reader.id} reads the block; remove it first.`;
    return planReplicaAgain(manager, next, { ...params, to: params.pool_id });
  },
};
