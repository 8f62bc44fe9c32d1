import { jobParams } from '@openservice/protocol';
import { deleteInstance } from '../../services/instance-rows.ts';
import type { KindEffects } from './effects.ts';
import { lockInstanceRow, noteInstanceFailure } from './instances.ts';
import { makeSavedAgain, savedMade, savedNotMade } from './saved-blocks.ts';

/** The instance goes; what was to be saved of it is there before. */
export const unloadEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const { instance_id, save } = jobParams.unload.parse(job.params);
    if (save !== null) await savedMade(manager, job, save, result);
    await deleteInstance(manager, instance_id);
  },

  /** Given back as loaded. Where it is not well, the node's next sync says so. */
  async ended(manager, job, error) {
    const { instance_id, save } = jobParams.unload.parse(job.params);
    if (save !== null) await savedNotMade(manager, job, save, error);
    await noteInstanceFailure(manager, instance_id, 'unload', error);
    await manager.query("UPDATE cdm_instances SET state = 'loaded' WHERE id = ? AND state = 'removing'", [instance_id]);
  },

  async again(manager, job, next) {
    const { instance_id, save } = jobParams.unload.parse(job.params);
    const refused = save === null ? null : await makeSavedAgain(manager, save, next);
    if (refused !== null) return refused;
    const row = await lockInstanceRow(manager, instance_id);
    if (row?.state !== 'loaded' && row?.state !== 'error') return `instance ${instance_id} is ${row?.state ?? 'gone'}.`;
    await manager.query("UPDATE cdm_instances SET state = 'removing' WHERE id = ?", [instance_id]);
    return null;
  },
};
