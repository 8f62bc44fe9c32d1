/** Reads replicas of a block, a sample of them or all, and compares them with their digests; damaged chunks are mended from another one, if wanted. */
import { newId } from '@openservice/domain';
import type { EntityManager, Pool, Replica } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { VerifyBlock } from '../routes/schemas/blocks.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import type { ClaimRequest } from './job-request.ts';
import { findBlock, mustBeAvailable, replicasOf } from './lookups.ts';
import { nodeForAll } from './placement.ts';
import { blockRef, poolsOf, readClaims } from './read-from.ts';
import { Refusal } from './refusal.ts';
import { limited } from './replicate.ts';

export async function verifyBlock(deps: AppDeps, id: string, body: VerifyBlock, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    mustBeAvailable(block);
    const replicas = await replicasOf(manager, [id]);
    const pools = await poolsToVerify(manager, id, replicas, body.from_pool_id);
    const poolIds = pools.map((pool) => pool.id);
    const repairFrom = body.repair ? await goodPools(manager, replicas) : [];
    const node = await nodeForAll(manager, pools);
    const jobId = newId('job');
    await submitJob(
      manager,
      {
        kind: 'verify',
        nodeId: node.id,
        blockId: id,
        setId: block.set_id,
        params: {
          ...limited(body.bandwidth),
          block: blockRef(block),
          pool_ids: poolIds,
          sample: body.sample,
          repair_from: repairFrom,
        },
        claims: claimsOf(id, poolIds, repairFrom),
        bytesTotal: block.size * poolIds.length,
        priority: body.priority,
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

/** Others may read what is verified; two repairs of one replica keep out of each other's way. */
function claimsOf(blockId: string, poolIds: readonly string[], repairFrom: readonly string[]): ClaimRequest[] {
  const repaired = repairFrom.length === 0 ? [] : poolIds;
  return [
    ...new Map([...poolIds, ...repairFrom].flatMap((id) => readClaims(blockId, id)).map((one) => [one.resource, one])).values(),
    ...repaired.map((id) => ({ resource: `replica:${blockId}/${id}/repair`, mode: 'exclusive' as const })),
  ];
}

/** A damaged replica may be looked at again. */
async function poolsToVerify(
  manager: EntityManager,
  blockId: string,
  all: readonly Replica[],
  asked: string | undefined,
): Promise<Pool[]> {
  const replicas = all.filter((replica) => asked === undefined || replica.pool_id === asked);
  if (asked !== undefined && replicas.length === 0) {
    throw new Refusal('replica_not_found', `Block ${blockId} has no replica in pool ${asked}; see its replicas.`);
  }
  const ids = replicas.filter((r) => r.state === 'available' || r.state === 'damaged').map((r) => r.pool_id);
  const usable = await usableOf(manager, ids);
  if (usable.length === 0) throw new Refusal('no_reachable_replica', `Block ${blockId} has no replica that can be read now.`);
  return usable;
}

async function goodPools(manager: EntityManager, replicas: readonly Replica[]): Promise<string[]> {
  const ids = replicas.filter((replica) => replica.state === 'available').map((replica) => replica.pool_id);
  return (await usableOf(manager, ids)).map((pool) => pool.id);
}

async function usableOf(manager: EntityManager, ids: readonly string[]): Promise<Pool[]> {
  return (await poolsOf(manager, ids)).filter((pool) => pool.state === 'available');
}
