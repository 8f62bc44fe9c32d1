import { type JobResult, jobParams } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { NOW } from '../clock.ts';
import { type KindEffects, poolIsAvailable } from './effects.ts';

/** Replicas that a verify must have met: there when it began, and still. */
const READ = "pool_id = ? AND state IN ('available', 'damaged') AND created_at <= ?";

/** Damaged replicas are marked. That the others are good is said only where every one of them was read in full. */
export const poolVerifyEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const { pool_id, sample } = jobParams.pool_verify.parse(job.params);
    const damaged = new Set(result.damage.flatMap(({ block_id }) => (block_id === undefined ? [] : [block_id])));
    if (sample === 1 && (await wereAllRead(manager, job, pool_id, result, damaged.size))) {
      await manager.query(
        `UPDATE replicas SET state = 'available', verified_at = ${NOW}
         WHERE ${READ} ${damaged.size === 0 ? '' : `AND block_id NOT IN (${[...damaged].map(() => '?').join(', ')})`}`,
        [pool_id, job.created_at, ...damaged],
      );
    }
    for (const blockId of [...damaged].toSorted()) {
      await manager.query(
        "UPDATE replicas SET state = 'damaged' WHERE block_id = ? AND pool_id = ? AND state IN ('available', 'damaged')",
        [blockId, pool_id],
      );
    }
  },

  async ended() {
    // Nothing was changed that would have to go back.
  },

  async again(manager, job) {
    const { pool_id } = jobParams.pool_verify.parse(job.params);
    return (await poolIsAvailable(manager, pool_id)) ? null : `pool ${pool_id} is not available.`;
  },
};

/**
 * The node goes through what the pool holds, which says nothing of a block that the pool has lost. So the blocks it read, and their bytes,
 * must be as many as the center counts, and the damaged ones all named; else (also where some came or went meanwhile) nobody is called good.
 */
async function wereAllRead(manager: EntityManager, job: Job, poolId: string, result: JobResult, named: number): Promise<boolean> {
  const [counted] = await manager.query<{ blocks: string | number; bytes: string | number | null }[]>(
    `SELECT COUNT(*) AS blocks, SUM(size) AS bytes FROM blocks WHERE id IN (SELECT block_id FROM replicas WHERE ${READ})`,
    [poolId, job.created_at],
  );
  const { blocks, damaged_blocks } = result.summary ?? {};
  return (
    damaged_blocks === named &&
    blocks === Number(counted?.blocks ?? 0) &&
    result.progress?.bytes_done === Number(counted?.bytes ?? 0)
  );
}
