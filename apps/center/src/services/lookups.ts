/** Rows that use cases start from, locked where they are given a transaction's manager and `lock`. */
import {
  type Block,
  BlockSchema,
  type BlockSet,
  BlockSetSchema,
  type EntityManager,
  type Node,
  NodeSchema,
  type Pool,
  PoolSchema,
  type Replica,
  ReplicaSchema,
} from '@openservice/store';
import { isReservation } from './pool-reservation.ts';
import { notFound, Refusal } from './refusal.ts';

const forUpdate = { lock: { mode: 'pessimistic_write' } } as const;

export async function findBlock(
  manager: EntityManager,
  id: string,
  options: { lock: boolean } = { lock: false },
): Promise<Block> {
  const block = await manager.findOne(BlockSchema, { where: { id }, ...(options.lock ? forUpdate : {}) });
  if (block === null) throw notFound('block', id);
  return block;
}

export async function findSet(
  manager: EntityManager,
  id: string,
  options: { lock: boolean } = { lock: false },
): Promise<BlockSet> {
  const set = await manager.findOne(BlockSetSchema, { where: { id }, ...(options.lock ? forUpdate : {}) });
  if (set === null) throw notFound('set', id);
  return set;
}

export async function findPool(manager: EntityManager, id: string, options: { lock: boolean } = { lock: false }): Promise<Pool> {
  const pool = await manager.findOne(PoolSchema, { where: { id }, ...(options.lock ? forUpdate : {}) });
  if (pool === null || isReservation(pool)) throw notFound('pool', id);
  return pool;
}

/** The pool, or a refusal when nothing may be written into or read from it now. */
export async function usablePool(manager: EntityManager, id: string): Promise<Pool> {
  const pool = await findPool(manager, id);
  if (pool.state !== 'available')
    throw new Refusal('pool_not_available', `Pool ${id} is ${pool.state}; see its node and its storage.`);
  return pool;
}

export async function findNode(manager: EntityManager, id: string): Promise<Node> {
  const node = await manager.findOneBy(NodeSchema, { id });
  if (node === null) throw notFound('node', id);
  return node;
}

/** In order of pool id. */
export function replicasOf(manager: EntityManager, blockIds: readonly string[]): Promise<Replica[]> {
  if (blockIds.length === 0) return Promise.resolve([]);
  return manager
    .createQueryBuilder(ReplicaSchema, 'r')
    .where('r.block_id IN (:...blockIds)', { blockIds })
    .orderBy('r.block_id')
    .addOrderBy('r.pool_id')
    .getMany();
}

export function mustBeAvailable(block: Block): void {
  if (block.state === 'available' && block.root_digest !== null) return;
  if (block.state === 'trashed') {
    throw new Refusal(
      'block_not_available',
      `Block ${block.id} is in the trash; bring it back with POST /openstore_v1/blocks/${block.id}?action=undelete.`,
    );
  }
  const why = block.error_message === null ? '' : ` (${block.error_message})`;
  throw new Refusal('block_not_available', `Block ${block.id} is ${block.state}${why}; it must be available for this.`);
}
