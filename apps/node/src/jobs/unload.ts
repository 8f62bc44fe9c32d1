/**
 * An instance goes; what was written to it is saved first where that was asked for. From then on no client can connect, until it is gone or the
 * job has failed for good: what is saved is the last that was written, wherever the node dies on the way.
 */
import type { JobContext, JobHandler } from '@openservice/agent';
import { type JobParams, type JobResult, jobResult, type SavedDisk } from '@openservice/protocol';
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
      const { instance_id, save } = context.params;
      const result = save === null ? await leaveToGo(context) : await saveFirst(deps, context, save);
      context.assertLease();
      await deps.instances.unload(instance_id);
      return result;
    },
    async cleanUp(context) {
      const { instance_id, save } = context.params;
      try {
        await dropSaved(deps, context, save ?? []);
      } finally {
        await deps.instances.letGo(instance_id, context.jobId);
      }
    },
  };
}

async function leaveToGo(context: JobContext<JobParams['unload']>): Promise<JobResult> {
  const result = plainResult({});
  await context.requestCommit(result);
  return result;
}

/** Journalled before the instance goes: after that nothing could be saved again. */
async function saveFirst(
  deps: JobDeps,
  context: JobContext<JobParams['unload']>,
  save: readonly SavedDisk[],
): Promise<JobResult> {
  const before = saved.safeParse(context.lastCheckpoint);
  if (before.success) return before.data.saved;
  const { instance, moment } = await deps.instances.hold(context.params.instance_id, context.jobId);
  const result = await saveDisks(deps, context, instance, save, { of: moment, earlier: false });
  await context.checkpoint({ saved: result });
  return result;
}
