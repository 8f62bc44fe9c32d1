import { type JobParams, jobParams } from '@openservice/protocol';
import type { EntityManager } from '@openservice/store';
import type { KindEffects } from './effects.ts';
import { blockMade, blockNotMade, makeBlockAgain } from './new-block.ts';
import { sourceGone } from './upload.ts';

export const importEffects: KindEffects = {
  succeeded: (manager, job, result) => blockMade(manager, job.block_id, result),

  ended: (manager, job, error) => blockNotMade(manager, job, job.block_id, error),

  async again(manager, job, next) {
    const params = jobParams.import.parse(job.params);
    return (await parentGone(manager, params)) ?? (await makeBlockAgain(manager, params.block_id, params.pool_id, next));
  },
};

async function parentGone(manager: EntityManager, { parent }: JobParams['import']): Promise<string | null> {
  return parent === null ? null : sourceGone(manager, parent.block, parent.pool_id);
}
