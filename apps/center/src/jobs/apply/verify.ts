import { jobParams } from '@openservice/protocol';
import { NOW } from '../clock.ts';
import { type KindEffects, lockBlock } from './effects.ts';

/** A verify changes what is known of each replica. One read in full and found good, or mended, is available again; a sample proves damage alone. */
export const verifyEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const block = await lockBlock(manager, job.block_id);
    if (block === null) return;
    const params = jobParams.verify.parse(job.params);
    // A replica's own state counts: damage that was found and mended is told as well.
    const told = new Map(result.replicas.map((replica) => [replica.pool_id, replica.state === 'damaged']));
    const found = new Set(result.damage.map((damage) => damage.pool_id));
    for (const poolId of params.pool_ids.toSorted()) {
      const damaged = told.get(poolId) ?? found.has(poolId);
      const isProof = damaged || params.sample === 1;
      if (!isProof) continue;
      await manager.query(
        `UPDATE replicas SET state = ?, verified_at = ${damaged ? 'verified_at' : NOW}
         WHERE block_id = ? AND pool_id = ? AND state IN ('available', 'damaged')`,
        [damaged ? 'damaged' : 'available', block.id, poolId],
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
