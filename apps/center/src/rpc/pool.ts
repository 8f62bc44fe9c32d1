/** A pool's spec with its secrets, for a node that opens it. */
import { PermanentError, type PoolSpec } from '@openservice/domain';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { type Pool, PoolSchema } from '@openservice/store';
import type { Plane } from '../plane.ts';
import type { Secrets } from '../secrets.ts';

/** PermanentError `pool_not_found`, `pool_elsewhere` for a directory of another node, `secret_unreadable`. */
export async function pool(
  { database }: Pick<Plane, 'database'>,
  secrets: Secrets,
  { pool_id }: CenterRequest<'pool'>,
  node: string,
): Promise<CenterReply<'pool'>> {
  const row = await database.manager.findOneBy(PoolSchema, { id: pool_id });
  if (row === null) throw new PermanentError('pool_not_found', `There is no pool ${pool_id}.`);
  if (row.type === 'local' && row.node_id !== node) {
    throw new PermanentError(
      'pool_elsewhere',
      `Pool ${pool_id} is a directory of node ${row.node_id}; node ${node} cannot open it.`,
    );
  }
  return { spec: specOf(row, secrets) };
}

function specOf(row: Pool, secrets: Secrets): PoolSpec {
  if (row.type === 'local' && row.node_id !== null && row.path !== null) {
    return { id: row.id, type: 'local', node_id: row.node_id, path: row.path };
  }
  if (row.type === 's3' && row.s3_scheme !== null && row.bucket !== null && row.secret_key_sealed !== null) {
    return {
      id: row.id,
      type: 's3',
      s3_scheme: row.s3_scheme,
      endpoint: row.endpoint,
      region: row.region ?? '',
      bucket: row.bucket,
      prefix: row.prefix ?? '',
      access_key: row.access_key ?? '',
      secret_key: secrets.open(row.secret_key_sealed),
      https: row.https ?? true,
    };
  }
  throw new PermanentError('pool_unusable', `Pool ${row.id} of type ${row.type} cannot be opened by a node.`);
}
