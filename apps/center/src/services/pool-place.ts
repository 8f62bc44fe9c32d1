/** Where a pool stores: two pools must never share a place, nor lie one inside the other. */
import { type EntityManager, type Pool, PoolSchema } from '@openservice/store';
import { invalidRequest } from './refusal.ts';

type Place = Pick<
  Pool,
  'type' | 'node_id' | 'path' | 'host' | 'port' | 'remote_pool' | 's3_scheme' | 'endpoint' | 'bucket' | 'prefix'
>;

/** Equal for two pools that would store in the same place. */
export function placeOf(pool: Place): string {
  if (pool.type === 'local' || pool.type === 'dedup') return `${pool.type} ${pool.node_id} ${pool.path}`;
  // A node may move; what it exports does not.
  if (pool.type === 'remote' && pool.node_id !== null) return `remote ${pool.node_id}/${pool.remote_pool}`;
  if (pool.type === 'remote') return `remote ${pool.host} ${pool.port} ${pool.remote_pool}`;
  // A bucket's name is unique at a provider, whatever the region.
  return `s3 ${pool.endpoint ?? pool.s3_scheme} ${pool.bucket} ${pool.prefix ?? ''}`;
}

/** Rows, reservations too, whose place is that of `wanted`; of directories also those above and below it on the node. */
export async function samePlace(manager: EntityManager, wanted: Pool): Promise<Pool[]> {
  if (wanted.path !== null) {
    const onNode = await manager.findBy(PoolSchema, { node_id: wanted.node_id ?? '' });
    return onNode.filter(({ path }) => path !== null && overlap(path, wanted.path ?? ''));
  }
  const where =
    wanted.type === 'remote'
      ? { type: wanted.type, remote_pool: wanted.remote_pool ?? '' }
      : { type: wanted.type, bucket: wanted.bucket ?? '' };
  return (await manager.findBy(PoolSchema, where)).filter((pool) => placeOf(pool) === placeOf(wanted));
}

const overlap = (a: string, b: string): boolean => a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);

/** `/a//b/` and `/a/./b` are one place. */
export function plainPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw invalidRequest([{ path: 'path', message: 'must not hold ".."' }]);
  if (parts.length === 0) throw invalidRequest([{ path: 'path', message: 'must not be "/"' }]);
  return `/${parts.join('/')}`;
}

/** A pool of ours that was deleted left its id in the place: the new one there goes on with it. */
export async function formerId(manager: EntityManager, place: string): Promise<string | null> {
  const [row] = await manager.query<{ resource: string }[]>(
    `SELECT resource FROM audit WHERE action = 'pool.delete' AND JSON_UNQUOTE(JSON_EXTRACT(detail, '$.place')) = ? ORDER BY id DESC LIMIT 1`,
    [place],
  );
  if (row === undefined) return null;
  return (await manager.existsBy(PoolSchema, { id: row.resource })) ? null : row.resource;
}
