/** A pool's spec with its secrets, for a node that opens it: a directory of another node comes as that node's pool server. */
import { PermanentError, type PoolSpec } from '@openservice/domain';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { NodeSchema, type Pool, PoolSchema } from '@openservice/store';
import type { Plane } from '../plane.ts';
import type { Secrets } from '../secrets.ts';
import { nodeOfPool } from '../services/placement.ts';
import { isOfOwnNode, specOf, specThrough } from '../services/pool-spec.ts';

/** PermanentError `pool_not_found`, `pool_unusable`, `secret_unreadable`; TransientError `node_unavailable` while the pool's node tells no endpoint. */
export async function pool(
  plane: Pick<Plane, 'database'>,
  secrets: Pick<Secrets, 'open'>,
  { pool_id }: CenterRequest<'pool'>,
  node: string,
): Promise<CenterReply<'pool'>> {
  const row = await plane.database.manager.findOneBy(PoolSchema, { id: pool_id });
  if (row === null) throw new PermanentError('pool_not_found', `There is no pool ${pool_id}.`);
  return { spec: await specFor(plane, secrets, row, node) };
}

async function specFor(
  { database }: Pick<Plane, 'database'>,
  secrets: Pick<Secrets, 'open'>,
  row: Pool,
  node: string,
): Promise<PoolSpec> {
  const owner = nodeOfPool(row);
  const elsewhere = owner !== null && owner !== node;
  if (!elsewhere && !isOfOwnNode(row)) return specOf(row, secrets);
  const through = await database.manager.findOneBy(NodeSchema, { id: row.node_id ?? '' });
  return specThrough(through, row.id, elsewhere ? row.id : (row.remote_pool ?? ''));
}
