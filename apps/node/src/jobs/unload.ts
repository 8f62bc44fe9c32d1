/** An instance goes; what was written to it is saved first where that was asked for. */
import type { JobContext, JobHandler } from '@openservice/agent';
import { type JobParams, type JobResult, jobResult } from '@openservice/protocol';
import { z } from 'zod';
import type { JobDeps } from './deps.ts';
import { plainResult } from './results.ts';
import { dropSaved, saveDisks } from './save-disks.ts';

const saved = z.object({ saved: jobResult });

export function unloadHandler(deps: JobDeps): JobHandler<'unload'> {
  return {
    kind: 'unload',
    concurrency: 4,
    async run(context) {
      const result = await saveFirst(deps, context);
      context.assertLease();
      await deps.instances.unload(context.params.instance_id);
      return result;
    },
    async cleanUp(context) {
      await dropSaved(deps, context, context.params.save ?? []);
    },
  };
}

/** Journalled before the instance goes: after that nothing could be saved again. */
async function saveFirst(deps: JobDeps, context: JobContext<JobParams['unload']>): Promise<JobResult> {
  const { instance_id, save } = context.params;
  const before = saved.safeParse(context.lastCheckpoint);
  if (before.success) return before.data.saved;
  if (save === null) {
    const result = plainResult({});
    await context.requestCommit(result);
    return result;
  }
  // Nobody is connected any more: what is saved is the last that was written.
  const result = await deps.instances.quietly(instance_id, (instance) => saveDisks(deps, context, instance, save));
  await context.checkpoint({ saved: result });
  return result;
}
