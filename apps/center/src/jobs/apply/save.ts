import { jobParams } from '@openservice/protocol';
import type { KindEffects } from './effects.ts';
import { clearInstanceFailure, noteInstanceFailure, notLoaded } from './instances.ts';
import { makeSavedAgain, savedMade, savedNotMade } from './saved-blocks.ts';

/** New blocks, or none; the instance goes on either way. */
export const saveEffects: KindEffects = {
  async succeeded(manager, job, result) {
    const { instance_id, save } = jobParams.save.parse(job.params);
    await savedMade(manager, job, save, result);
    await clearInstanceFailure(manager, instance_id);
  },

  async ended(manager, job, error) {
    const { instance_id, save } = jobParams.save.parse(job.params);
    await savedNotMade(manager, job, save, error);
    await noteInstanceFailure(manager, instance_id, 'save', error);
  },

  async again(manager, job, next) {
    const { instance_id, save } = jobParams.save.parse(job.params);
    return (await makeSavedAgain(manager, save, next)) ?? (await notLoaded(manager, instance_id));
  },
};
