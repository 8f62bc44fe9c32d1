/** The bases of an instance come into a pool near its node while it is used; a failure leaves it as it was. */
import type { JobHandler } from '@openservice/agent';
import { blockOf, openReplica } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';
import { dropFromPool, sessionOf } from './pool-target.ts';
import { writeBlocks } from './write-blocks.ts';

export function hydrateHandler(deps: JobDeps): JobHandler<'hydrate'> {
  return {
    kind: 'hydrate',
    concurrency: 1,
    async run(context) {
      const { instance_id, pool_id, disks } = context.params;
      const instance = deps.instances.get(instance_id);
      const plans = disks.map(({ block, pool_id: from }) => ({
        block: blockOf(block),
        poolId: pool_id,
        fromPoolId: from,
        expectedRoot: Buffer.from(block.root_digest, 'hex'),
        openSource: (signal: AbortSignal) => openReplica(deps, from, block, signal),
      }));
      const result = await writeBlocks(deps, { context, plans, moment: null });
      for (const { index } of disks) await instance.rebase(index, pool_id, context.signal);
      return result;
    },
    async cleanUp(context) {
      const { pool_id, disks } = context.params;
      for (const { block } of disks) {
        const session = sessionOf({ ...context, params: {} }, blockOf(block));
        await dropFromPool(deps, pool_id, session, context);
      }
    },
  };
}
