import { jobParams } from '@openservice/protocol';
import type { EntityManager } from '@openservice/store';
import { type BlockRow, type KindEffects, lockBlock, replicaGone, replicasOf } from './effects.ts';

/** The block is as it was before its delete, but for a set that has gone since and replicas that the pool had removed already. */
export const undeleteEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null || !mayComeBack(block)) return;
    const back = new Set(result.replicas.filter((one) => one.state === 'available').map((one) => one.pool_id));
    const gone = new Set(result.replicas.filter((one) => one.state === 'removed').map((one) => one.pool_id));
    for (const replica of await replicasOf(manager, block.id)) {
      if (gone.has(replica.pool_id)) await replicaGone(manager, block, replica);
      if (!back.has(replica.pool_id)) continue;
      await manager.query(
        `UPDATE replicas SET state = IF(was_damaged, 'damaged', 'available'), was_damaged = 0, job_id = NULL
         WHERE block_id = ? AND pool_id = ? AND state = 'trashed'`,
        [block.id, replica.pool_id],
      );
    }
    if (back.size === 0) return;
    const setId = block.state === 'trashed' ? await rejoin(manager, block) : block.set_id;
    await manager.query(
      "UPDATE blocks SET state = 'available', purge_at = NULL, set_id = ?, error_code = NULL, error_message = NULL WHERE id = ?",
      [setId, block.id],
    );
  },

  async ended() {
    // It is in the trash, as it was.
  },

  async again(manager, job) {
    const block = await lockBlock(manager, jobParams.undelete.parse(job.params).block.id);
    return block !== null && mayComeBack(block) ? null : `block ${job.block_id} is ${block?.state ?? 'gone'}, not in the trash.`;
  },
};

/** In the trash; or on the way there, which failed: some of its pools may have it in theirs all the same. */
export function mayComeBack(block: Pick<BlockRow, 'state' | 'error_code'>): boolean {
  return block.state === 'trashed' || (block.state === 'available' && block.error_code === 'delete_failed');
}

/** The set that the block is of again; null when there is none any more. */
async function rejoin(manager: EntityManager, block: BlockRow): Promise<string | null> {
  if (block.set_id === null) return null;
  const { affectedRows } = await manager.query<{ affectedRows: number }>(
    'UPDATE sets SET block_count = block_count + 1 WHERE id = ?',
    [block.set_id],
  );
  return affectedRows === 1 ? block.set_id : null;
}
