/** What upload, move and restore into a pool share: a further replica of an available block. */
import { newId } from '@openservice/domain';
import { type Block, type EntityManager, type Pool, type Replica, ReplicaSchema } from '@openservice/store';
import { submitJob } from '../jobs/submit-job.ts';
import { metaOf } from './block-meta.ts';
import type { Caller } from './caller.ts';
import type { ClaimRequest } from './job-request.ts';
import { replicasOf, usablePool } from './lookups.ts';
import { nodeForAll, nodeOfPool } from './placement.ts';
import { bestSource, blockRef, readable, readClaims } from './read-from.ts';
import { Refusal } from './refusal.ts';

export interface Route {
  nodeId: string;
  from: Pool;
}

/** Bytes a second, only where it is given: a job's parameters say nothing of what nobody asked for. */
export function limited(bandwidth: number | undefined): { bandwidth?: number } {
  return bandwidth === undefined ? {} : { bandwidth };
}

/** The target's node, where it is a directory; else the source's; else any. Read is what the target has itself, where it has the block. */
export async function routeInto(
  manager: EntityManager,
  block: Block,
  target: Pool,
  fromPoolId: string | undefined,
): Promise<Route> {
  const pools = await readable(manager, block, fromPoolId);
  const node = await nodeForAll(manager, nodeOfPool(target) === null ? pools : [target]);
  const own = pools.find((pool) => pool.id === target.id);
  return { nodeId: node.id, from: own ?? (await bestSource(manager, block, pools, node.id)) };
}

interface Replicated {
  block: Block;
  target: Pool;
  route: Route;
  bandwidth: number | undefined;
  priority: number | undefined;
}

/** The job's id. Refused where the pool has a replica of the block already. */
export async function submitReplica(
  manager: EntityManager,
  kind: 'upload' | 'restore' | 'move',
  { block, target, route, bandwidth, priority }: Replicated,
  caller: Caller,
): Promise<string> {
  const replicas = await replicasOf(manager, [block.id]);
  const existing = replicas.find((replica) => replica.pool_id === target.id);
  if (existing !== undefined) refuseExisting(block, target, existing);
  const jobId = newId('job');
  const written = {
    ...limited(bandwidth),
    meta: await metaOf(manager, block),
    block: blockRef(block),
    from_pool_id: route.from.id,
  };
  const common = {
    nodeId: route.nodeId,
    blockId: block.id,
    setId: block.set_id,
    claims: claimsOf(kind, block, target, route.from),
    bytesTotal: block.size,
    priority,
    tokenId: caller.tokenId,
    traceparent: caller.traceparent,
  };
  if (kind === 'restore') {
    const into = { type: 'pool' as const, pool_id: target.id };
    await submitJob(manager, { ...common, kind, params: { ...written, target: into, delta: false } }, { jobId });
  } else await submitJob(manager, { ...common, kind, params: { ...written, pool_id: target.id } }, { jobId });
  await manager.insert(ReplicaSchema, {
    block_id: block.id,
    pool_id: target.id,
    state: 'creating',
    stored_bytes: 0,
    job_id: jobId,
    created_at: new Date(),
  });
  await usablePool(manager, target.id); // under the lock that the claim took: it may have been deleted meanwhile
  return jobId;
}

/** A move has its source for itself: who reads it would lose it half-way. Readers of other replicas go on, only deleting the block does not. */
function claimsOf(kind: 'upload' | 'restore' | 'move', block: Block, target: Pool, from: Pool): ClaimRequest[] {
  const source = `replica:${block.id}/${from.id}`;
  return [
    ...readClaims(block.id, from.id).filter(({ resource }) => resource !== source),
    { resource: source, mode: kind === 'move' ? 'exclusive' : 'shared' },
    { resource: `replica:${block.id}/${target.id}`, mode: 'exclusive' },
    { resource: `pool:${target.id}`, mode: 'shared' },
  ];
}

function refuseExisting(block: Block, target: Pool, existing: Replica): never {
  if (existing.state === 'available') {
    throw new Refusal('replica_exists', `Pool ${target.id} has a replica of block ${block.id} already.`);
  }
  if (existing.state === 'damaged') {
    throw new Refusal(
      'replica_exists',
      `The replica of block ${block.id} in pool ${target.id} is damaged; delete it first (DELETE …?pool_id=${target.id}).`,
    );
  }
  throw new Refusal(
    'block_busy',
    `The replica of block ${block.id} in pool ${target.id} is ${existing.state} by job ${existing.job_id}; wait for it or cancel it.`,
    {
      job_id: existing.job_id,
    },
  );
}
