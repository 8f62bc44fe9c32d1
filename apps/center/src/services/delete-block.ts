/** A block goes with all its replicas, or one replica of it goes: work of the one node that reaches them. */
import { newId } from '@openservice/domain';
import { type Block, type EntityManager, type Pool, PoolSchema, type Replica } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { findBlock, replicasOf } from './lookups.ts';
import { anyOnlineNode, nodeOfPool, workingNode } from './placement.ts';
import { notFound, Refusal } from './refusal.ts';

/** `poolId`: the replica there alone; null: the block with all of them. */
export async function deleteBlock(deps: AppDeps, id: string, poolId: string | null, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager): Promise<Answer> => {
    const jobId =
      poolId === null ? await submitDelete(manager, id, caller) : await submitReplicaDelete(manager, id, poolId, caller);
    if (jobId === null) return { status: 200, body: { 'block-id': id, 'job-id': null } };
    return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

/** The job that deletes the block; null when there was nothing stored and its row went at once. */
export async function submitDelete(manager: EntityManager, id: string, caller: Caller): Promise<string | null> {
  const block = await findBlock(manager, id, { lock: true });
  await refuseHeld(manager, id);
  if (block.state === 'deleting') throw new Refusal('block_not_available', `Block ${id} is being deleted already.`);
  const replicas = await replicasOf(manager, [id]);
  const where = replicas.length > 0 ? await nodeFor(manager, replicas) : await placeOfFailedImport(manager, id);
  if (where === null) {
    await dropRow(manager, block);
    return null;
  }
  const jobId = newId('job');
  await submit(manager, block, where, jobId, caller);
  await manager.query(
    "UPDATE replicas SET was_damaged = (state = 'damaged'), state = 'deleting', job_id = ? WHERE block_id = ?",
    [jobId, id],
  );
  await manager.query("UPDATE blocks SET state = 'deleting', error_code = NULL, error_message = NULL WHERE id = ?", [id]);
  return jobId;
}

/** The block stays available by its other replicas. */
async function submitReplicaDelete(manager: EntityManager, id: string, poolId: string, caller: Caller): Promise<string> {
  const block = await findBlock(manager, id, { lock: true });
  await refuseHeld(manager, id);
  const replicas = await replicasOf(manager, [id]);
  const going = replicas.find((replica) => replica.pool_id === poolId);
  if (going === undefined)
    throw new Refusal('replica_not_found', `Block ${id} has no replica in pool ${poolId}; see its replicas.`);
  if (!replicas.some((replica) => replica.pool_id !== poolId && replica.state === 'available')) {
    throw new Refusal(
      'last_replica',
      `The replica in pool ${poolId} is the last good one of block ${id}; delete the block itself if it is to go.`,
    );
  }
  const jobId = newId('job');
  await submit(manager, block, await nodeFor(manager, [going]), jobId, caller);
  await manager.query(
    "UPDATE replicas SET was_damaged = (state = 'damaged'), state = 'deleting', job_id = ? WHERE block_id = ? AND pool_id = ?",
    [jobId, id, poolId],
  );
  return jobId;
}

interface Where {
  nodeId: string;
  poolIds: string[];
}

/** The node that reaches all of these replicas. */
async function nodeFor(manager: EntityManager, replicas: readonly Replica[]): Promise<Where> {
  const poolIds = replicas.map((replica) => replica.pool_id);
  const pools = await findPools(manager, poolIds);
  const bound = new Set(pools.map(nodeOfPool).filter((node) => node !== null));
  if (bound.size > 1) {
    throw new Refusal(
      'replicas_on_several_nodes',
      `Replicas of this block are on several nodes (${[...bound].join(', ')}); delete all but one of them first, each with DELETE …?pool_id=.`,
    );
  }
  const [only] = bound;
  const node = only === undefined ? await anyOnlineNode(manager) : await workingNode(manager, only);
  return { nodeId: node.id, poolIds };
}

/** An import that failed may have left something uncommitted in its pool; its node clears it. Null when there is no such place. */
async function placeOfFailedImport(manager: EntityManager, blockId: string): Promise<Where | null> {
  const [job] = await manager.query<{ node_id: string; pool_id: string | null }[]>(
    `SELECT node_id, JSON_UNQUOTE(JSON_EXTRACT(params, '$.pool_id')) AS pool_id FROM jobs
     WHERE block_id = ? AND kind = 'import' ORDER BY id DESC LIMIT 1`,
    [blockId],
  );
  if (job === undefined || job.pool_id === null) return null;
  const [pool] = await findPools(manager, [job.pool_id]);
  return pool === undefined ? null : { nodeId: job.node_id, poolIds: [pool.id] };
}

function findPools(manager: EntityManager, ids: readonly string[]): Promise<Pool[]> {
  return manager.createQueryBuilder(PoolSchema, 'p').where('p.id IN (:...ids)', { ids }).orderBy('p.id').getMany();
}

async function submit(manager: EntityManager, block: Block, where: Where, jobId: string, caller: Caller): Promise<void> {
  await submitJob(
    manager,
    {
      kind: 'delete',
      nodeId: where.nodeId,
      blockId: block.id,
      setId: block.set_id,
      params: { block_id: block.id, pool_ids: where.poolIds },
      claims: [
        { resource: `block:${block.id}`, mode: 'exclusive' },
        ...where.poolIds.map((id) => ({ resource: `pool:${id}`, mode: 'shared' as const })),
      ],
      bytesTotal: block.size,
      tokenId: caller.tokenId,
      traceparent: caller.traceparent,
    },
    { jobId },
  );
}

/** Who holds the block is a better answer than the state it is in. */
export async function refuseHeld(manager: EntityManager, blockId: string): Promise<void> {
  const [claim] = await manager.query<{ job_id: string; kind: string }[]>(
    'SELECT c.job_id, j.kind FROM claims c JOIN jobs j ON j.id = c.job_id WHERE c.resource = ? ORDER BY c.job_id LIMIT 1',
    [`block:${blockId}`],
  );
  if (claim === undefined) return;
  throw new Refusal(
    'block_busy',
    `Block ${blockId} is in use by job ${claim.job_id} (${claim.kind}); wait for it or cancel it.`,
    { job_id: claim.job_id },
  );
}

async function dropRow(manager: EntityManager, block: Block): Promise<void> {
  const gone = (await manager.query('DELETE FROM blocks WHERE id = ?', [block.id])) as { affectedRows: number };
  if (gone.affectedRows !== 1) throw notFound('block', block.id);
  if (block.set_id !== null)
    await manager.query('UPDATE sets SET block_count = GREATEST(0, block_count - 1) WHERE id = ?', [block.set_id]);
}
