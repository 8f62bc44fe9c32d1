/** Reads a replica (or all that one node reaches) in full and compares it with its digests. */
import { newId } from '@openservice/domain';
import { type EntityManager, type Pool, PoolSchema } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { VerifyBlock } from '../routes/schemas/blocks.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { findBlock, mustBeAvailable, replicasOf } from './lookups.ts';
import { anyOnlineNode, isReachable, nodeOfPool, workingNode } from './placement.ts';
import { blockRef } from './read-from.ts';
import { Refusal } from './refusal.ts';

export async function verifyBlock(deps: AppDeps, id: string, body: VerifyBlock, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    mustBeAvailable(block);
    const pools = await poolsToVerify(manager, id, body.from_pool_id);
    const bound = pools.map(nodeOfPool).find((node) => node !== null) ?? null;
    const node = bound === null ? await anyOnlineNode(manager) : await workingNode(manager, bound);
    const poolIds = pools.filter((pool) => isReachable(pool, node.id)).map((pool) => pool.id);
    const jobId = newId('job');
    await submitJob(
      manager,
      {
        kind: 'verify',
        nodeId: node.id,
        blockId: id,
        setId: block.set_id,
        params: { block: blockRef(block), pool_ids: poolIds },
        claims: [
          { resource: `block:${id}`, mode: 'shared' },
          ...poolIds.map((poolId) => ({ resource: `pool:${poolId}`, mode: 'shared' as const })),
        ],
        bytesTotal: block.size * poolIds.length,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    return { status: 202, body: { 'block-id': id, 'job-id': jobId, pool_ids: poolIds }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

/** A damaged replica may be looked at again. */
async function poolsToVerify(manager: EntityManager, blockId: string, asked: string | undefined): Promise<Pool[]> {
  const replicas = (await replicasOf(manager, [blockId])).filter((replica) => asked === undefined || replica.pool_id === asked);
  if (asked !== undefined && replicas.length === 0) {
    throw new Refusal('replica_not_found', `Block ${blockId} has no replica in pool ${asked}; see its replicas.`);
  }
  const ids = replicas.filter((r) => r.state === 'available' || r.state === 'damaged').map((r) => r.pool_id);
  const pools =
    ids.length === 0
      ? []
      : await manager.createQueryBuilder(PoolSchema, 'p').where('p.id IN (:...ids)', { ids }).orderBy('p.id').getMany();
  const usable = pools.filter((pool) => pool.state === 'available');
  if (usable.length === 0) throw new Refusal('no_reachable_replica', `Block ${blockId} has no replica that can be read now.`);
  return usable;
}
