/** Reading pools. */
import type { PoolType } from '@openservice/domain';
import { type DataSource, type Pool, PoolSchema } from '@openservice/store';
import type { Answer } from './answers.ts';
import { findPool } from './lookups.ts';
import { containing, type PageRequest, page } from './paging.ts';
import { CONFIRMED_SQL } from './pool-reservation.ts';
import { poolView } from './views.ts';

export interface PoolFilters {
  filter?: string | undefined;
  type?: PoolType | undefined;
  node_id?: string | undefined;
  state?: Pool['state'] | undefined;
}

export async function listPools(database: DataSource, request: PageRequest & PoolFilters): Promise<Answer> {
  const pools = database.getRepository(PoolSchema);
  const query = pools.createQueryBuilder('t').where(CONFIRMED_SQL);
  if (request.filter !== undefined) query.andWhere('LOWER(t.name) LIKE LOWER(:part)', { part: containing(request.filter) });
  for (const column of ['type', 'node_id', 'state'] as const) {
    if (request[column] !== undefined) query.andWhere(`t.${column} = :${column}`, { [column]: request[column] });
  }
  const { rows, nextMarker } = await page(query, request, (id) => pools.findOneBy({ id }));
  return { status: 200, body: { pools: rows.map(poolView), next_marker: nextMarker } };
}

export async function getPool(database: DataSource, id: string): Promise<Answer> {
  return { status: 200, body: { pool: poolView(await findPool(database.manager, id)) } };
}
