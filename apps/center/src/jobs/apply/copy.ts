import { jobParams } from '@openservice/protocol';
import type { KindEffects } from './effects.ts';
import { blockMade, blockNotMade, makeBlockAgain } from './new-block.ts';
import { sourceGone } from './upload.ts';

/** The job is about the block that is read; what it changes is the new one. */
export const copyEffects: KindEffects = {
  succeeded: (manager, job, result) => blockMade(manager, jobParams.copy.parse(job.params).new_block_id, result),

  ended: (manager, job, error) => blockNotMade(manager, job, jobParams.copy.parse(job.params).new_block_id, error),

  async again(manager, job, next) {
    const params = jobParams.copy.parse(job.params);
    const refused =
      (await sourceGone(manager, params.block, params.from_pool_id)) ??
      (await makeBlockAgain(manager, params.new_block_id, params.pool_id, next));
    if (refused !== null) return refused;
    await manager.query('UPDATE jobs SET result_block_id = ? WHERE id = ?', [params.new_block_id, next]);
    return null;
  },
};
