import { type JobParams, type JobResult, jobParams } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { removeBlockRow } from '../../services/block-row.ts';
import { readerOf } from '../../services/instance-use.ts';
import { leaveSet } from '../../services/set-membership.ts';
import { fromNow } from '../clock.ts';
import { type BlockRow, type KindEffects, lockBlock, replicaGone, replicasOf } from './effects.ts';

/** A block whose removal out of the trash failed is tried again after this, ms. */
const PURGE_AGAIN_MS = 3_600_000;

/** Everything is as it was before the delete: available or damaged, or in the trash. */
async function giveBack(
  manager: EntityManager,
  job: Job,
  block: BlockRow,
  error: { code: string; message: string } | null,
): Promise<void> {
  const wasTrashed = block.state === 'deleting' && block.purge_at !== null;
  await manager.query(
    `UPDATE replicas SET state = ${wasTrashed ? "'trashed'" : "IF(was_damaged, 'damaged', 'available')"}, job_id = NULL
     WHERE block_id = ? AND state = 'deleting' AND job_id = ?`,
    [block.id, job.id],
  );
  // A block without content (a failed import) has nothing to be available with.
  const before = wasTrashed ? "'trashed'" : "IF(root_digest IS NULL, 'error', 'available')";
  const purge = wasTrashed ? `, purge_at = GREATEST(purge_at, ${fromNow(PURGE_AGAIN_MS)})` : '';
  await manager.query(
    `UPDATE blocks SET state = ${before}, error_code = ?, error_message = ?${purge} WHERE id = ? AND state = 'deleting'`,
    [error?.code ?? null, error?.message.slice(0, 2000) ?? null, block.id],
  );
}

async function toTrash(manager: EntityManager, job: Job, block: BlockRow, params: JobParams['delete']): Promise<void> {
  await manager.query(
    "UPDATE replicas SET state = 'trashed', job_id = NULL WHERE block_id = ? AND state = 'deleting' AND job_id = ?",
    [block.id, job.id],
  );
  await manager.query(`UPDATE blocks SET state = 'trashed', purge_at = ${fromNow(params.trash_ms ?? 0)} WHERE id = ?`, [
    block.id,
  ]);
  await leaveSet(manager, block.set_id);
}

/** What is removed: all that was named, but for what went into the trash. */
function removedBy(params: JobParams['delete'], result: JobResult): ReadonlySet<string> {
  const of = (state: string) => result.replicas.filter((replica) => replica.state === state).map((replica) => replica.pool_id);
  const removed = new Set([...(params.trash ? [] : params.pool_ids), ...of('removed')]);
  for (const poolId of of('trashed')) removed.delete(poolId);
  return removed;
}

/** A delete takes replicas of `pool_ids` away, or into the trash; the block goes with its last one. */
export const deleteEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null) return;
    const params = jobParams.delete.parse(job.params);
    const removed = removedBy(params, result);
    const replicas = await replicasOf(manager, block.id);
    for (const replica of replicas) if (removed.has(replica.pool_id)) await replicaGone(manager, block, replica);
    if (replicas.every((replica) => removed.has(replica.pool_id)))
      await removeBlockRow(manager, block, block.purge_at === null); // in the trash it was no longer counted
    else if (params.trash) await toTrash(manager, job, block, params);
    else await giveBack(manager, job, block, null);
  },

  async ended(manager, job, error) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null) return;
    const { trash } = jobParams.delete.parse(job.params);
    const remedy = trash ? ' Delete it again, or bring it back with action=undelete: some pools may have it in their trash.' : '';
    const why =
      error.code === 'cancelled' ? null : { code: 'delete_failed', message: `${error.code}: ${error.message}${remedy}` };
    await giveBack(manager, job, block, why);
  },

  async again(manager, job, next) {
    const params = jobParams.delete.parse(job.params);
    const block = await lockBlock(manager, params.block_id);
    if (block === null) return `block ${params.block_id} is gone already.`;
    if (block.state !== 'available' && block.state !== 'error' && !(block.state === 'trashed' && !params.trash))
      return `block ${block.id} is ${block.state}.`;
    const replicas = await replicasOf(manager, block.id);
    const some = replicas.some((replica) => !params.pool_ids.includes(replica.pool_id) && replica.state === 'available');
    const reader = await readerOf(manager, block.id, some ? params.pool_ids : null);
    if (reader !== null) return `instance ${reader.id} reads the block; remove it first.`;
    if (!some) {
      // What was to be one replica's end must not become the block's, should its other replicas have gone since.
      const ofReplica = params.replica_only ?? (block.state === 'available' && block.error_code !== 'delete_failed');
      if (ofReplica) return 'delete the block itself instead.';
      await manager.query("UPDATE blocks SET state = 'deleting', error_code = NULL, error_message = NULL WHERE id = ?", [
        block.id,
      ]);
    }
    if (params.pool_ids.length === 0) return null;
    await manager.query(
      `UPDATE replicas SET was_damaged = IF(state = 'trashed', was_damaged, state = 'damaged'), state = 'deleting', job_id = ?
       WHERE block_id = ? AND pool_id IN (${params.pool_ids.map(() => '?').join(', ')})`,
      [next, block.id, ...params.pool_ids],
    );
    return null;
  },
};
