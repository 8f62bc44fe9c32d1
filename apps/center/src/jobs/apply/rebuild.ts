import { jobParams } from '@openservice/protocol';
import { type KindEffects, poolIsAvailable } from './effects.ts';

/** Its rows were made batch by batch (rpc/found.ts), each whole by itself: nothing is left to do at its end, and nothing goes back. */
export const rebuildEffects: KindEffects = {
  async succeeded() {
    // See above.
  },

  async ended() {
    // See above.
  },

  async again(manager, job) {
    const { pool_id } = jobParams.rebuild.parse(job.params);
    return (await poolIsAvailable(manager, pool_id)) ? null : `pool ${pool_id} is not available.`;
  },
};
