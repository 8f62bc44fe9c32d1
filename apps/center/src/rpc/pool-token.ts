/** Tokens for the pool servers of this center's nodes. */
import { PermanentError, TransientError } from '@openservice/domain';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { NodeSchema, type Pool, PoolSchema } from '@openservice/store';
import type { Plane } from '../plane.ts';
import type { PoolTokens } from '../pool-tokens.ts';
import { nodeOfPool } from '../services/placement.ts';
import { isOfOwnNode } from '../services/pool-spec.ts';

/**
 * For any node of this center. A directory's token names its pool id; that of a remote pool names `<node>/<exported name>`, since the name
 * alone says nothing. PermanentError `pool_not_found`, `pool_unusable` for a pool that no token opens.
 */
export async function poolToken(
  { database }: Pick<Plane, 'database'>,
  tokens: PoolTokens,
  { pool_id, block_id, right }: CenterRequest<'pool_token'>,
  node: string,
): Promise<CenterReply<'pool_token'>> {
  if (!(await database.manager.existsBy(NodeSchema, { id: node }))) {
    throw new TransientError('node_unavailable', `Node ${node} is not known here yet; it is once it has synced.`);
  }
  const row = await database.manager.findOneBy(PoolSchema, { id: pool_id });
  if (row === null) throw new PermanentError('pool_not_found', `There is no pool ${pool_id}.`);
  return tokens.sign({ pool: resourceOf(row), block: block_id, right });
}

function resourceOf(row: Pool): string {
  if (nodeOfPool(row) !== null) return row.id;
  if (isOfOwnNode(row)) return exportedAs(row.node_id ?? '', row.remote_pool ?? '');
  throw new PermanentError('pool_unusable', `Pool ${row.id} of type ${row.type} is not opened with a token of this center.`);
}

/** What a token and an access key call the pool that `node` exports under `name`. */
export const exportedAs = (node: string, name: string): string => `${node}/${name}`;
