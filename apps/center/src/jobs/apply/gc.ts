import { jobParams } from '@openservice/protocol';
import { type KindEffects, poolIsAvailable } from './effects.ts';

/** A collection measured what the pool takes up. What was stored while it worked is missing in that until the next one: the figure decides nothing. */
export const gcEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const live = result.summary?.live_bytes;
    if (live === undefined || !Number.isSafeInteger(live) || live < 0) return;
    await manager.query('UPDATE pools SET stored_bytes = ? WHERE id = ?', [live, jobParams.gc.parse(job.params).pool_id]);
  },

  async ended() {
    // What it freed was garbage, whether it came to its end or not.
  },

  async again(manager, job) {
    const { pool_id } = jobParams.gc.parse(job.params);
    return (await poolIsAvailable(manager, pool_id)) ? null : `pool ${pool_id} is not available.`;
  },
};
