import { jobParams } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { NOW } from '../clock.ts';
import { type KindEffects, poolIsAvailable } from './effects.ts';

/** As many as a result may name: a list that long may not be all of them. */
const MOST_DAMAGE = 100;

/** Damaged replicas are marked. That the others are good is said only where every one of them was read in full. */
export const poolVerifyEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const { pool_id, sample } = jobParams.pool_verify.parse(job.params);
    const damaged = [...new Set(result.damage.flatMap(({ block_id }) => (block_id === undefined ? [] : [block_id])))].toSorted();
    const unnamed = result.damage.length >= MOST_DAMAGE || result.damage.some(({ block_id }) => block_id === undefined);
    if (sample === 1 && !unnamed && (await wereAllRead(manager, job, pool_id, result.summary))) {
      await manager.query(`UPDATE replicas SET state = 'available', verified_at = ${NOW} WHERE ${READ}`, [
        pool_id,
        job.created_at,
      ]);
    }
    for (const blockId of damaged) {
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

/** Those that a verify must have met: there when it began, and still. */
const READ = "pool_id = ? AND state IN ('available', 'damaged') AND created_at <= ?";

/**
 * The node goes through what the pool holds, which says nothing of a block that the pool has lost. So the blocks it read, and their bytes,
 * must be as many as the center counts; else (also where some came or went meanwhile) nobody is called good.
 */
async function wereAllRead(
  manager: EntityManager,
  job: Job,
  poolId: string,
  summary: Record<string, number> | undefined,
): Promise<boolean> {
  const [counted] = await manager.query<{ blocks: string | number; bytes: string | number | null }[]>(
    `SELECT COUNT(*) AS blocks, SUM(b.size) AS bytes FROM replicas r JOIN blocks b ON b.id = r.block_id
     WHERE r.pool_id = ? AND r.state IN ('available', 'damaged') AND r.created_at <= ?`,
    [poolId, job.created_at],
  );
  return summary?.blocks === Number(counted?.blocks ?? 0) && summary.bytes === Number(counted?.bytes ?? 0);
}
