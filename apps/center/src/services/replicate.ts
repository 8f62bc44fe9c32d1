/** What upload and restore into a pool share: a further replica of an available block. */
import { newId } from '@openservice/domain';
import type { JobParams } from '@openservice/protocol';
import { type Block, type EntityManager, type Pool, type Replica, ReplicaSchema } from '@openservice/store';
import { submitJob } from '../jobs/submit-job.ts';
import type { Caller } from './caller.ts';
import { replicasOf, usablePool } from './lookups.ts';
import { anyOnlineNode, nodeOfPool, workingNode } from './placement.ts';
import { blockRef, chooseFor, readable } from './read-from.ts';
import { Refusal } from './refusal.ts';

export interface Route {
  nodeId: string;
  from: Pool;
}

/** The node that reaches the target and a replica to read. */
export async function routeInto(
  manager: EntityManager,
  block: Block,
  target: Pool,
  fromPoolId: string | undefined,
): Promise<Route> {
  const pools = (await readable(manager, block, fromPoolId)).filter((pool) => pool.id !== target.id);
  const bound = nodeOfPool(target);
  if (bound !== null) {
    await workingNode(manager, bound);
    return { nodeId: bound, from: chooseFor(bound, pools, block) };
  }
  const [first] = pools;
  if (first === undefined) {
    throw new Refusal('no_reachable_replica', `Block ${block.id} has no available replica to read from; see its replicas.`);
  }
  const nodeId = nodeOfPool(first);
  const node = nodeId === null ? await anyOnlineNode(manager) : await workingNode(manager, nodeId);
  return { nodeId: node.id, from: first };
}

export async function submitReplica(
  manager: EntityManager,
  kind: 'upload' | 'restore',
  block: Block,
  target: Pool,
  route: Route,
  caller: Caller,
): Promise<string> {
  const replicas = await replicasOf(manager, [block.id]);
  const existing = replicas.find((replica) => replica.pool_id === target.id);
  if (existing !== undefined) await refuseExisting(block, target, existing);
  const jobId = newId('job');
  const common = {
    nodeId: route.nodeId,
    blockId: block.id,
    setId: block.set_id,
    claims: [
      { resource: `block:${block.id}`, mode: 'shared' as const },
      { resource: `replica:${block.id}/${target.id}`, mode: 'exclusive' as const },
      { resource: `pool:${target.id}`, mode: 'shared' as const },
      { resource: `pool:${route.from.id}`, mode: 'shared' as const },
    ],
    bytesTotal: block.size,
    tokenId: caller.tokenId,
    traceparent: caller.traceparent,
  };
  const upload: JobParams['upload'] = { block: blockRef(block), from_pool_id: route.from.id, pool_id: target.id };
  const restore: JobParams['restore'] = {
    block: blockRef(block),
    from_pool_id: route.from.id,
    target: { type: 'pool', pool_id: target.id },
  };
  if (kind === 'upload') await submitJob(manager, { ...common, kind, params: upload }, { jobId });
  else await submitJob(manager, { ...common, kind, params: restore }, { jobId });
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

async function refuseExisting(block: Block, target: Pool, existing: Replica): Promise<never> {
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
