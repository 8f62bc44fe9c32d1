/** Reading blocks. Replicas of a page are loaded at once. */
import { type Block, BlockSchema, type DataSource, PoolSchema, type Replica } from '@openservice/store';
import type { Answer } from './answers.ts';
import { findBlock, replicasOf } from './lookups.ts';
import { containing, type PageRequest, page } from './paging.ts';
import { blockView } from './views.ts';

export interface BlockFilters {
  filter?: string | undefined;
  set_id?: string | undefined;
  pool_id?: string | undefined;
  state?: Block['state'] | undefined;
}

/** Of so many it is faster to go through all blocks in the order that is asked for; of fewer, to sort those of the pool. */
const MANY_BLOCKS = 5000;

/** SQL: the block `t` has a replica in that pool. As EXISTS, servers begin with the pool's replicas, and sort them all; not so with a count. */
async function inPool(database: DataSource, poolId: string) {
  const pool = await database.getRepository(PoolSchema).findOneBy({ id: poolId });
  const replica = 'FROM replicas r WHERE r.block_id = t.id AND r.pool_id = :poolId';
  const many = (pool?.block_count ?? 0) > MANY_BLOCKS;
  return { sql: many ? `(SELECT COUNT(*) ${replica}) > 0` : `EXISTS (SELECT 1 ${replica})`, parameters: { poolId } };
}

export async function listBlocks(database: DataSource, request: PageRequest & BlockFilters): Promise<Answer> {
  const blocks = database.getRepository(BlockSchema);
  const query = blocks.createQueryBuilder('t').where('1 = 1');
  if (request.filter !== undefined) query.andWhere('LOWER(t.name) LIKE LOWER(:part)', { part: containing(request.filter) });
  if (request.set_id !== undefined) query.andWhere('t.set_id = :setId', { setId: request.set_id });
  if (request.state === undefined) query.andWhere("t.state <> 'trashed'");
  else query.andWhere('t.state = :state', { state: request.state });
  if (request.pool_id !== undefined) {
    const { sql, parameters } = await inPool(database, request.pool_id);
    query.andWhere(sql, parameters);
  }
  const { rows, nextMarker } = await page(query, request, (id) => blocks.findOneBy({ id }));
  return {
    status: 200,
    body: {
      blocks: withReplicas(
        rows,
        await replicasOf(
          database.manager,
          rows.map((b) => b.id),
        ),
      ),
      next_marker: nextMarker,
    },
  };
}

export function withReplicas(blocks: readonly Block[], replicas: readonly Replica[]) {
  const byBlock = Map.groupBy(replicas, (replica) => replica.block_id);
  return blocks.map((block) => blockView(block, byBlock.get(block.id) ?? []));
}

export async function getBlock(database: DataSource, id: string): Promise<Answer> {
  const block = await findBlock(database.manager, id);
  return { status: 200, body: { block: blockView(block, await replicasOf(database.manager, [id])) } };
}
