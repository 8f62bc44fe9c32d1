/** An instance's disks are their blocks again. Leave is asked first: what was written cannot be had back. */
import type { JobHandler } from '@openservice/agent';
import type { JobDeps } from './deps.ts';
import { plainResult } from './results.ts';

export function rewindHandler({ instances }: JobDeps): JobHandler<'rewind'> {
  return {
    kind: 'rewind',
    concurrency: 4,
    async run(context) {
      const { instance_id } = context.params;
      instances.get(instance_id);
      const result = plainResult({});
      await context.requestCommit(result);
      context.assertLease();
      await instances.rewind(instance_id);
      return result;
    },
    async cleanUp() {
      // Half a rewind is done again by the next; nothing is left beside it.
    },
  };
}
