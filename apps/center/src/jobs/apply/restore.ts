import { jobParams } from '@openservice/protocol';
import type { KindEffects } from './effects.ts';
import { planReplicaAgain, replicaEffects } from './upload.ts';

/** A restore to a file, device or NBD server leaves no row behind; one into a pool is a replica like an upload's. */
export const restoreEffects: KindEffects = {
  ...replicaEffects,
  async again(manager, job, next) {
    const params = jobParams.restore.parse(job.params);
    const to = params.target.type === 'pool' ? params.target.pool_id : null;
    return planReplicaAgain(manager, next, { ...params, to });
  },
};
