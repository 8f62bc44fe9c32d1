/** Which replica a job reads: the one asked for, else the best for the node that does the work. */
import type { BlockRef } from '@openservice/protocol';
import { type Block, type EntityManager, NodeSchema, type Pool, PoolSchema } from '@openservice/store';
import { replicasOf } from './lookups.ts';
import { nodeOfPool } from './placement.ts';
import { Refusal } from './refusal.ts';

/** Pools of the block's available replicas, or the one asked for; sorted by id. Refused when nothing can be read now. */
export async function readable(manager: EntityManager, block: Block, fromPoolId: string | undefined): Promise<Pool[]> {
  const replicas = await replicasOf(manager, [block.id]);
  if (fromPoolId !== undefined) {
    const asked = replicas.find((replica) => replica.pool_id === fromPoolId);
    if (asked === undefined)
      throw new Refusal('replica_not_found', `Block ${block.id} has no replica in pool ${fromPoolId}; see its replicas.`);
    if (asked.state !== 'available')
      throw new Refusal('replica_not_available', `The replica of block ${block.id} in pool ${fromPoolId} is ${asked.state}.`);
  }
  const ids = replicas
    .filter((r) => r.state === 'available' && (fromPoolId === undefined || r.pool_id === fromPoolId))
    .map((r) => r.pool_id);
  const usable = (await poolsOf(manager, ids)).filter((pool) => pool.state === 'available');
  if (usable.length > 0) return usable;
  throw new Refusal('no_reachable_replica', `Block ${block.id} has no available replica to read from; see its replicas.`);
}

/** Sorted by id. */
export async function poolsOf(manager: EntityManager, ids: readonly string[]): Promise<Pool[]> {
  if (ids.length === 0) return [];
  return manager.createQueryBuilder(PoolSchema, 'p').where('p.id IN (:...ids)', { ids }).orderBy('p.id').getMany();
}

/**
 * The best of `pools` (one at least) to read the block from on node `nodeId`: its own directory, else what is stored compressed, else what is
 * left; whatever one job has for itself (a move, a repair), or lies on a node that is away, comes after all that is not.
 */
export async function bestSource(manager: EntityManager, block: Block, pools: readonly Pool[], nodeId: string): Promise<Pool> {
  if (pools.length === 1) return pools[0]!;
  const away = await nodesAway(manager, pools);
  const taken = await held(manager, block.id);
  const rank = (pool: Pool): number => {
    const bound = nodeOfPool(pool);
    const near = bound === nodeId ? 0 : pool.type === 's3' || pool.type === 'dedup' ? 1 : 2;
    return near + (bound !== null && away.has(bound) ? 10 : 0) + (taken.has(pool.id) ? 100 : 0);
  };
  return pools.reduce((best, pool) => (rank(pool) < rank(best) ? pool : best));
}

async function nodesAway(manager: EntityManager, pools: readonly Pool[]): Promise<Set<string>> {
  const ids = pools.map(nodeOfPool).filter((node) => node !== null);
  if (ids.length === 0) return new Set();
  const nodes = await manager
    .createQueryBuilder(NodeSchema, 'n')
    .where("n.id IN (:...ids) AND n.state IN ('suspect', 'offline')", { ids })
    .getMany();
  return new Set(nodes.map((node) => node.id));
}

/** Pools whose replica of the block one job has for itself. */
async function held(manager: EntityManager, blockId: string): Promise<Set<string>> {
  const rows = await manager.query<{ resource: string }[]>(
    "SELECT resource FROM claims WHERE resource LIKE ? AND mode = 'exclusive'",
    [`replica:${blockId}/%`],
  );
  return new Set(rows.map((row) => row.resource.split('/')[1] ?? ''));
}

/** What a job is told of the block. Only for a block that is available. */
export function blockRef(block: Block): BlockRef {
  return { id: block.id, size: block.size, chunk_size: block.chunk_size, root_digest: block.root_digest ?? '' };
}

/** What a job that reads the block from `pool` claims: neither may the block be deleted meanwhile, nor that replica be moved away. */
export function readClaims(blockId: string, poolId: string): { resource: string; mode: 'shared' }[] {
  return [`block:${blockId}`, `replica:${blockId}/${poolId}`, `pool:${poolId}`].map((resource) => ({ resource, mode: 'shared' }));
}
