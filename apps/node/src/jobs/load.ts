/** An instance: all its disks can be read over NBD, or none is. */
import type { JobContext, JobHandler } from '@openservice/agent';
import type { JobDeps } from './deps.ts';
import { plainResult } from './results.ts';

export function loadHandler({ instances }: JobDeps): JobHandler<'load'> {
  return {
    kind: 'load',
    concurrency: 8,
    async run(context) {
      const { instance_id, name, read_only, disks } = context.params;
      await instances.load({ instance_id, name, read_only, disks, loaded_by: runOf(context) }, context.signal);
      const result = plainResult({});
      await context.requestCommit(result);
      return result;
    },
    // A load that did not come to its end leaves nothing served.
    cleanUp: (context) => instances.undoLoad(context.params.instance_id, runOf(context)),
  };
}

function runOf({ jobId, fence }: Pick<JobContext<unknown>, 'jobId' | 'fence'>) {
  return { job_id: jobId, fence };
}
