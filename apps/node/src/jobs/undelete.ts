/** Replicas of a block come back from their pools' trash. */
import type { JobHandler } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { BlockStat, Pool } from '@openservice/pools';
import type { BlockRef, JobResult } from '@openservice/protocol';
import type { JobDeps } from './deps.ts';

export function undeleteHandler(deps: JobDeps): JobHandler<'undelete'> {
  return {
    kind: 'undelete',
    concurrency: 4,
    async run(context) {
      const { params, fence, signal } = context;
      const { block } = params;
      const pools = await Promise.all(params.pool_ids.map((id) => deps.pools.get(id, signal)));
      const result: JobResult = {
        root_digest: block.root_digest,
        size: block.size,
        replicas: params.pool_ids.map((pool_id) => ({ pool_id, state: 'available', stored_bytes: 0 })),
        verified: false,
        progress: null,
        damage: [],
      };
      await context.preparing();
      await context.requestCommit(result);
      const replicas: JobResult['replicas'] = [];
      for (const [i, pool] of pools.entries()) {
        context.assertLease();
        await pool.untrash(block.id, fence, signal);
        const { storedBytes } = await demandSame(pool, block, signal);
        replicas.push({ pool_id: params.pool_ids[i] ?? pool.id, state: 'available', stored_bytes: storedBytes });
      }
      return { ...result, replicas };
    },
    async cleanUp() {
      // What came back is whole, and what did not is still in the trash.
    },
  };
}

/** PermanentError `digest_mismatch` when what came back is not the block that the center knows. */
async function demandSame(pool: Pool, block: BlockRef, signal: AbortSignal): Promise<BlockStat> {
  const stat = await pool.stat(block.id, signal);
  if (stat?.rootDigest.toString('hex') === block.root_digest) return stat;
  throw new PermanentError(
    'digest_mismatch',
    `What ${pool.name} had of ${block.id} in its trash is not that block (${stat?.rootDigest.toString('hex') ?? 'nothing'} instead of ${block.root_digest}); use another replica.`,
  );
}
