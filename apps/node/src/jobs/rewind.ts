/** An instance's disks are their blocks again. Leave is asked first: what was written cannot be had back. */
import type { JobHandler } from '@openservice/agent';
import { z } from 'zod';
import type { JobDeps } from './deps.ts';
import { plainResult } from './results.ts';

const done = z.object({ rewound: z.literal(true) });

export function rewindHandler({ instances }: JobDeps): JobHandler<'rewind'> {
  return {
    kind: 'rewind',
    concurrency: 4,
    async run(context) {
      const { instance_id } = context.params;
      instances.get(instance_id);
      const result = plainResult({});
      await context.requestCommit(result);
      // Rewound by a run before this one: what was written since stays.
      if (!done.safeParse(context.lastCheckpoint).success) {
        context.assertLease();
        const { instance } = await instances.hold(instance_id, context.jobId);
        await instance.rewind();
        await context.checkpoint({ rewound: true });
      }
      await instances.letGo(instance_id, context.jobId);
      return result;
    },
    // Half a rewind is done again by the next.
    cleanUp: (context) => instances.letGo(context.params.instance_id, context.jobId),
  };
}
