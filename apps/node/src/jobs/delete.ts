/**
 * Replicas of a block go: into their pools' trash, whole, to be had back; or for good. Leave to delete is the commit: it is asked before
 * the first one goes.
 */
import type { JobHandler } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { Pool } from '@openservice/pools';
import type { JobResult } from '@openservice/protocol';
import type { JobDeps } from './deps.ts';
import { plainResult } from './results.ts';

type Replica = JobResult['replicas'][number];

export function deleteHandler(deps: JobDeps): JobHandler<'delete'> {
  return {
    kind: 'delete',
    concurrency: 4,
    async run(context) {
      const { params, fence, signal } = context;
      // Opened first: a pool that cannot be reached is known before anything is removed from another.
      const pools = await Promise.all(params.pool_ids.map((id) => deps.pools.get(id, signal)));
      const state = params.trash ? 'trashed' : 'removed';
      const expected = params.pool_ids.map((pool_id) => ({ pool_id, state, stored_bytes: 0 }) as const);
      await context.preparing();
      await context.requestCommit(plainResult({ replicas: expected }));
      const replicas: Replica[] = [];
      for (const [i, pool] of pools.entries()) {
        const pool_id = params.pool_ids[i] ?? pool.id;
        context.assertLease();
        const trashed = params.trash && (await intoTrash(pool, params.block_id, fence, signal));
        if (!trashed) await pool.remove(params.block_id, fence, signal);
        replicas.push({ pool_id, state: trashed ? 'trashed' : 'removed', stored_bytes: 0 });
      }
      return plainResult({ replicas });
    },
    async cleanUp() {
      // A delete leaves nothing half-made: what is gone is gone, what is not is still whole.
    },
  };
}

/** False where the pool never held the block whole: there is nothing to be had back, only leavings to remove. */
async function intoTrash(pool: Pool, blockId: string, fence: number, signal: AbortSignal): Promise<boolean> {
  try {
    await pool.trash(blockId, fence, signal);
    return true;
  } catch (error) {
    if (error instanceof PermanentError && error.code === 'block_not_in_pool') return false;
    throw error;
  }
}
