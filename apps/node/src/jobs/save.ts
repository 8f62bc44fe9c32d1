/** What an instance's disks hold at one moment becomes new blocks; the instance goes on. */
import { randomUUID } from 'node:crypto';
import type { JobHandler } from '@openservice/agent';
import type { JobDeps } from './deps.ts';
import { dropSaved, saveDisks } from './save-disks.ts';

export function saveHandler(deps: JobDeps): JobHandler<'save'> {
  return {
    kind: 'save',
    concurrency: 2,
    async run(context) {
      const { instance_id, save } = context.params;
      // Each run is of a moment of its own; blocks that an earlier run has made whole are of one moment as well.
      return saveDisks(deps, context, deps.instances.get(instance_id), save, { of: randomUUID(), earlier: true });
    },
    cleanUp: (context) => dropSaved(deps, context, context.params.save),
  };
}
