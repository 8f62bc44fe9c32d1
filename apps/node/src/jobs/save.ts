/** What an instance's disks hold at one moment becomes new blocks; the instance goes on. */
import type { JobHandler } from '@openservice/agent';
import type { JobDeps } from './deps.ts';
import { dropSaved, saveDisks } from './save-disks.ts';

export function saveHandler(deps: JobDeps): JobHandler<'save'> {
  return {
    kind: 'save',
    concurrency: 2,
    run: (context) => saveDisks(deps, context, deps.instances.get(context.params.instance_id), context.params.save),
    cleanUp: (context) => dropSaved(deps, context, context.params.save),
  };
}
