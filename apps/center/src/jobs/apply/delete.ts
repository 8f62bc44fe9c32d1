import { jobParams } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { type BlockRow, type KindEffects, lockBlock, replicaGone, replicasOf } from './effects.ts';

async function dropBlock(manager: EntityManager, block: BlockRow): Promise<void> {
  await manager.query('DELETE FROM blocks WHERE id = ?', [block.id]);
  if (block.set_id === null) return;
  await manager.query('UPDATE sets SET block_count = GREATEST(0, block_count - 1) WHERE id = ?', [block.set_id]);
}

async function giveBack(manager: EntityManager, job: Job, error: { code: string; message: string } | null): Promise<void> {
  await manager.query(
    "UPDATE replicas SET state = IF(was_damaged, 'damaged', 'available'), job_id = NULL WHERE block_id = ? AND state = 'deleting'",
    [job.block_id],
  );
  // A block without content (a failed import) has nothing to be available with.
  await manager.query(
    `UPDATE blocks SET state = IF(root_digest IS NULL, 'error', 'available'), error_code = ?, error_message = ?
     WHERE id = ? AND state = 'deleting'`,
    [error?.code ?? null, error?.message.slice(0, 2000) ?? null, job.block_id],
  );
}

/** A delete takes replicas of `pool_ids` away; the block goes with its last one. */
export const deleteEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null) return;
    const params = jobParams.delete.parse(job.params);
    const named = new Set([...params.pool_ids, ...result.replicas.filter((r) => r.state === 'removed').map((r) => r.pool_id)]);
    const replicas = await replicasOf(manager, block.id);
    for (const replica of replicas) if (named.has(replica.pool_id)) await replicaGone(manager, block, replica);
    if (replicas.every((replica) => named.has(replica.pool_id))) await dropBlock(manager, block);
    else await giveBack(manager, job, null);
  },

  async ended(manager, job, error) {
    await lockBlock(manager, job.block_id);
    const why = error.code === 'cancelled' ? null : { code: 'delete_failed', message: `${error.code}: ${error.message}` };
    await giveBack(manager, job, why);
  },

  async again(manager, job, next) {
    const params = jobParams.delete.parse(job.params);
    const block = await lockBlock(manager, params.block_id);
    if (block === null) return `block ${params.block_id} is gone already.`;
    if (block.state !== 'available' && block.state !== 'error') return `block ${block.id} is ${block.state}.`;
    const replicas = await replicasOf(manager, block.id);
    const some = replicas.some((replica) => !params.pool_ids.includes(replica.pool_id) && replica.state === 'available');
    if (!some) {
      // What was to be one replica's end must not become the block's, should its other replicas have gone since.
      if (block.state !== 'error' && block.error_code !== 'delete_failed') return 'delete the block itself instead.';
      await manager.query("UPDATE blocks SET state = 'deleting', error_code = NULL, error_message = NULL WHERE id = ?", [
        block.id,
      ]);
    }
    if (params.pool_ids.length === 0) return null;
    await manager.query(
      `UPDATE replicas SET was_damaged = (state = 'damaged'), state = 'deleting', job_id = ? WHERE block_id = ? AND pool_id IN (${params.pool_ids.map(() => '?').join(', ')})`,
      [next, block.id, ...params.pool_ids],
    );
    return null;
  },
};
