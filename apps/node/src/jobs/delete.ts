/** Replicas of a block are removed. Leave to delete is the commit: it is asked before the first byte goes. */
import type { JobHandler } from '@openservice/agent';
import type { JobResult } from '@openservice/protocol';
import type { JobDeps } from './deps.ts';

export function deleteHandler(deps: JobDeps): JobHandler<'delete'> {
  return {
    kind: 'delete',
    concurrency: 4,
    async run(context) {
      const { params, fence, signal } = context;
      // Opened first: a pool that cannot be reached is known before anything is removed from another.
      const pools = await Promise.all(params.pool_ids.map((id) => deps.pools.get(id, signal)));
      const result: JobResult = {
        root_digest: null,
        size: null,
        replicas: params.pool_ids.map((pool_id) => ({ pool_id, state: 'removed', stored_bytes: 0 })),
        verified: false,
        progress: null,
        damage: [],
      };
      await context.preparing();
      await context.requestCommit(result);
      for (const pool of pools) {
        context.assertLease();
        await pool.remove(params.block_id, fence, signal);
      }
      return result;
    },
    async cleanUp() {
      // A delete leaves nothing half-made: what is removed is removed, what is not is still whole.
    },
  };
}
