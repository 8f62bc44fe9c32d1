import { jobParams } from '@openservice/protocol';
import type { KindEffects } from './effects.ts';
import { clearInstanceFailure, lockInstanceRow, noteInstanceFailure, notLoaded } from './instances.ts';

export const rewindEffects: KindEffects = {
  async succeeded(manager, job) {
    const { instance_id } = jobParams.rewind.parse(job.params);
    if ((await lockInstanceRow(manager, instance_id)) === null) return;
    await clearInstanceFailure(manager, instance_id);
    await manager.query('UPDATE cdm_instance_disks SET overlay_bytes = 0 WHERE instance_id = ?', [instance_id]);
  },

  async ended(manager, job, error) {
    await noteInstanceFailure(manager, jobParams.rewind.parse(job.params).instance_id, 'rewind', error);
  },

  async again(manager, job) {
    return notLoaded(manager, jobParams.rewind.parse(job.params).instance_id);
  },
};
