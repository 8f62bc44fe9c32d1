import { jobParams } from '@openservice/protocol';
import { NOW } from '../clock.ts';
import { type KindEffects, lockBlock } from './effects.ts';

/** A verify changes nothing but what is known of each replica. */
export const verifyEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null) return;
    const damaged = new Set([
      ...result.damage.map((damage) => damage.pool_id),
      ...result.replicas.filter((replica) => replica.state === 'damaged').map((replica) => replica.pool_id),
    ]);
    for (const poolId of jobParams.verify.parse(job.params).pool_ids.toSorted()) {
      await manager.query(
        `UPDATE replicas SET state = ?, verified_at = ${damaged.has(poolId) ? 'verified_at' : NOW}
         WHERE block_id = ? AND pool_id = ? AND state IN ('available', 'damaged')`,
        [damaged.has(poolId) ? 'damaged' : 'available', block.id, poolId],
      );
    }
  },

  async ended() {
    // Nothing was changed that would have to go back.
  },

  async again(manager, job) {
    const block = await lockBlock(manager, job.block_id);
    return block?.state === 'available' ? null : `block ${job.block_id} is ${block?.state ?? 'gone'}, not available.`;
  },
};
