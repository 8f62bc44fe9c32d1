/** Which replica a job reads: the one asked for, else the best that the node reaches. */
import { type Block, type EntityManager, type Pool, PoolSchema } from '@openservice/store';
import { replicasOf } from './lookups.ts';
import { isReachable, nodeOfPool } from './placement.ts';
import { Refusal } from './refusal.ts';

/** Available replicas of the block with their pools, local ones first: they are read without a network. */
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
  if (ids.length === 0) return [];
  const pools = await manager.createQueryBuilder(PoolSchema, 'p').where('p.id IN (:...ids)', { ids }).orderBy('p.id').getMany();
  const usable = pools.filter((pool) => pool.state === 'available');
  return [...usable.filter((pool) => nodeOfPool(pool) !== null), ...usable.filter((pool) => nodeOfPool(pool) === null)];
}

/** The first of `pools` that the node reaches. */
export function chooseFor(nodeId: string, pools: readonly Pool[], block: Block): Pool {
  const chosen = pools.find((pool) => isReachable(pool, nodeId));
  if (chosen !== undefined) return chosen;
  throw new Refusal(
    'no_reachable_replica',
    `Node ${nodeId} reaches no available replica of block ${block.id}; upload the block to an s3 pool first, or choose another node.`,
  );
}

/** What a job is told of the block. Only for a block that is available. */
export function blockRef(block: Block): { id: string; size: number; chunk_size: number; root_digest: string } {
  return { id: block.id, size: block.size, chunk_size: block.chunk_size, root_digest: block.root_digest ?? '' };
}
