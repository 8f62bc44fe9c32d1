/**
 * What a pool holds against what the center believes of it. The node that is nearest lists the pool page by page; what differs is looked at
 * again, one by one, in an order that jobs under way cannot deceive:
 *
 * - unknown: it was listed, then the center had no row of it, then the pool still has it. A row is there before a block is committed, and goes
 *   only after the block has gone.
 * - missing: the center had it available, then the pool did not have it, then the center still has it available. A row is available only
 *   after the commit, and is something else before a block is removed.
 */
import { type NodeReply, orAborted } from '@openservice/runtime';
import { type DataSource, inTransaction } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { findPool } from '../services/lookups.ts';
import { anyOnlineNode, nodeOfPool } from '../services/placement.ts';
import { type Found, replaceFound } from './report.ts';

const PAGE = 1_000;
const PAGE_LIMIT_MS = 120_000;
/** Of one pool so many are listed; whoever mends it mends all. */
const MOST_FOUND = 200;

type Listed = NodeReply<'pool_blocks'>['blocks'][number];
export type CompareDeps = Pick<AppDeps, 'database' | 'nodes'>;

/** Anomalies of the pool are then what was found. How many; rejects, and leaves them as they are, when the pool could not be listed. */
export async function comparePool(deps: CompareDeps, poolId: string, signal: AbortSignal): Promise<number> {
  const { database } = deps;
  const pool = await findPool(database.manager, poolId);
  const node = nodeOfPool(pool) ?? (await anyOnlineNode(database.manager)).id;
  const ask = (request: { after: string } | { ids: string[] }): Promise<NodeReply<'pool_blocks'>> =>
    orAborted(
      deps.nodes.call(
        node,
        'pool_blocks',
        { pool_id: poolId, limit: PAGE, after: '', ids: null, ...request },
        { timeoutMs: PAGE_LIMIT_MS },
      ),
      signal,
    );
  // A pool behind another center may hold that one's blocks, too.
  const isOurs = pool.type !== 'remote' || pool.node_id !== null;
  const unknown: Listed[] = [];
  const missing: string[] = [];
  for (let after = '', more = true; more; ) {
    const page = await ask({ after });
    more = page.more;
    const upTo = more ? (page.blocks.at(-1)?.id ?? '~') : '~';
    const rows = await rowsBetween(database, poolId, after, upTo);
    const listed = new Set(page.blocks.map(({ id }) => id));
    if (isOurs && unknown.length < MOST_FOUND)
      unknown.push(...page.blocks.filter(({ id, state }) => state === 'committed' && !rows.has(id)));
    if (missing.length < MOST_FOUND)
      missing.push(...[...rows].filter(([id, state]) => state === 'available' && !listed.has(id)).map(([id]) => id));
    after = upTo;
  }
  const found = await confirmed(deps.database, poolId, unknown.slice(0, MOST_FOUND), missing.slice(0, MOST_FOUND), (ids) =>
    ask({ ids }),
  );
  await inTransaction(database, (manager) => replaceFound(manager, `pool:${poolId}`, found));
  return found.length;
}

async function confirmed(
  database: DataSource,
  poolId: string,
  unknown: readonly Listed[],
  missing: readonly string[],
  look: (ids: string[]) => Promise<NodeReply<'pool_blocks'>>,
): Promise<Found[]> {
  const ids = [...unknown.map(({ id }) => id), ...missing];
  if (ids.length === 0) return [];
  const before = await rowsOf(database, poolId, ids);
  const there = new Set((await look(ids)).blocks.map(({ id }) => id));
  const after = await rowsOf(database, poolId, ids);
  const isAvailable = (id: string): boolean => before.get(id) === 'available' && after.get(id) === 'available';
  return [
    ...unknown.filter(({ id }) => !before.has(id) && there.has(id)).map(({ id }) => unknownBlock(poolId, id)),
    ...missing.filter((id) => isAvailable(id) && !there.has(id)).map((id) => missingReplica(poolId, id)),
  ];
}

function unknownBlock(pool: string, block: string): Found {
  return {
    kind: 'unknown_block',
    resource: `pool:${pool}/block:${block}`,
    detail: `Pool ${pool} holds block ${block}, which the center does not know to be there (its database may be an older one).`,
    remedy: `Take over what the pool holds: POST /pools/${pool}?action=rebuild. Then delete what is not wanted.`,
  };
}

function missingReplica(pool: string, block: string): Found {
  return {
    kind: 'missing_replica',
    resource: `pool:${pool}/block:${block}`,
    detail: `The center believes block ${block} in pool ${pool}, which does not hold it: somebody removed it, or the pool's storage was replaced or brought back from a backup.`,
    remedy:
      `Bring the pool's storage back. Where that cannot be: DELETE /blocks/${block}?pool_id=${pool} where there is another replica, and ` +
      'upload it again from that one; else the block is lost, delete it.',
  };
}

async function rowsBetween(database: DataSource, poolId: string, after: string, upTo: string): Promise<Map<string, string>> {
  const rows = await database.query<{ block_id: string; state: string }[]>(
    'SELECT block_id, state FROM replicas WHERE pool_id = ? AND block_id > ? AND block_id <= ?',
    [poolId, after, upTo],
  );
  return new Map(rows.map(({ block_id, state }) => [block_id, state]));
}

async function rowsOf(database: DataSource, poolId: string, ids: readonly string[]): Promise<Map<string, string>> {
  const rows = await database.query<{ block_id: string; state: string }[]>(
    `SELECT block_id, state FROM replicas WHERE pool_id = ? AND block_id IN (${ids.map(() => '?').join(', ')})`,
    [poolId, ...ids],
  );
  return new Map(rows.map(({ block_id, state }) => [block_id, state]));
}
