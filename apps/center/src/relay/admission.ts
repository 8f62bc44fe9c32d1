/**
 * Limits of nodes and pools on how many jobs they have at a time. A command to run in front of which a limit stands is `held` from the start
 * (`jobs/attempts.ts`), and goes from here to `pending` once there is room: by priority, then age. So a job without limits costs nothing here,
 * and one that waits costs its relay nothing.
 *
 * Several relays never let out too many: who counts and lets go has the lock of one row. A job counts from the moment it is let go: while its
 * command is pending, dispatched, and until it has ended or has a new attempt. A paused job keeps its place.
 */
import { type DataSource, type EntityManager, inTransaction } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';

const PAGE = 200;
/** Jobs that their node has, or is about to get. */
const AT_NODE = "'dispatched', 'accepted', 'running', 'paused', 'preparing', 'committing', 'cancelling'";

/** What is left of each limit: `node:<id>`, `pool:<id>`. */
type Room = Map<string, number>;

interface Candidate {
  id: number;
  job_id: string;
  node_id: string;
}

/** Lets go what there is room for. How many those were; 0 also while another center does it. */
export async function admit(database: DataSource): Promise<number> {
  return inTransaction(database, async (manager) => {
    // Another center is at it, or was stopped in the middle of it: what is due without a limit must not wait for that.
    const mine = await manager.query<unknown[]>("SELECT name FROM row_locks WHERE name = 'admission' FOR UPDATE SKIP LOCKED");
    if (mine.length === 0) return 0;
    const room = await roomOf(manager);
    let admitted = 0;
    for (;;) {
      const candidates = await candidatesFor(manager, room);
      const chosen = choose(candidates, await poolsOf(manager, candidates, room), room);
      await letGo(manager, chosen);
      admitted += chosen.length;
      if (chosen.length === 0 || candidates.length < PAGE) return admitted;
    }
  });
}

async function roomOf(manager: EntityManager): Promise<Room> {
  const room: Room = new Map();
  for (const { id, max_jobs } of await limited(manager, 'nodes')) room.set(`node:${id}`, max_jobs);
  for (const { id, max_jobs } of await limited(manager, 'pools')) room.set(`pool:${id}`, max_jobs);
  const nodes = [...room.keys()].flatMap((resource) => (resource.startsWith('node:') ? [resource.slice('node:'.length)] : []));
  const pools = [...room.keys()].filter((resource) => resource.startsWith('pool:'));
  for (const { resource, n } of [...(await takenOfNodes(manager, nodes)), ...(await takenOfPools(manager, pools))])
    room.set(resource, (room.get(resource) ?? 0) - Number(n));
  return room;
}

function limited(manager: EntityManager, table: 'nodes' | 'pools'): Promise<{ id: string; max_jobs: number }[]> {
  return manager.query(`SELECT id, max_jobs FROM ${table} WHERE max_jobs IS NOT NULL`);
}

type Taken = { resource: string; n: number | string }[];

/** SQL: jobs that were let go and have not been marked as sent yet. */
const ON_THE_WAY = `outbox o JOIN jobs j ON j.id = o.job_id AND j.attempt = o.attempt AND j.state = 'queued'`;
const IS_ON_THE_WAY = "o.status = 'pending' AND o.type = 'run'";

async function takenOfNodes(manager: EntityManager, ids: readonly string[]): Promise<Taken> {
  if (ids.length === 0) return [];
  return manager.query(
    `SELECT CONCAT('node:', t.node_id) AS resource, COUNT(*) AS n FROM (
       SELECT j.node_id FROM jobs j WHERE j.node_id IN (${marks(ids)}) AND j.state IN (${AT_NODE})
       UNION ALL SELECT j.node_id FROM ${ON_THE_WAY} WHERE ${IS_ON_THE_WAY} AND o.node_id IN (${marks(ids)})
     ) t GROUP BY t.node_id`,
    [...ids, ...ids],
  );
}

async function takenOfPools(manager: EntityManager, resources: readonly string[]): Promise<Taken> {
  if (resources.length === 0) return [];
  return manager.query(
    `SELECT t.resource, COUNT(*) AS n FROM (
       SELECT c.resource FROM claims c JOIN jobs j ON j.id = c.job_id AND j.state IN (${AT_NODE}) WHERE c.resource IN (${marks(resources)})
       UNION ALL SELECT c.resource FROM ${ON_THE_WAY} JOIN claims c ON c.job_id = o.job_id
         WHERE ${IS_ON_THE_WAY} AND c.resource IN (${marks(resources)})
     ) t GROUP BY t.resource`,
    [...resources, ...resources],
  );
}

/** Held commands that no full limit stands in front of, the next one first. */
async function candidatesFor(manager: EntityManager, room: Room): Promise<Candidate[]> {
  const full = [...room].flatMap(([resource, left]) => (left <= 0 ? [resource] : []));
  const nodes = full.flatMap((resource) => (resource.startsWith('node:') ? [resource.slice(5)] : []));
  const pools = full.filter((resource) => resource.startsWith('pool:'));
  return manager.query(
    `SELECT o.id, o.job_id, o.node_id FROM outbox o FORCE INDEX (outbox_relay)
     WHERE o.status = 'held' AND o.next_at <= ${NOW}
       ${nodes.length === 0 ? '' : `AND o.node_id NOT IN (${marks(nodes)})`}
       ${pools.length === 0 ? '' : `AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.job_id = o.job_id AND c.resource IN (${marks(pools)}))`}
     ORDER BY o.priority, o.next_at, o.id LIMIT ${PAGE}`,
    [...nodes, ...pools],
  );
}

/** The limited pools of each candidate's job. */
async function poolsOf(manager: EntityManager, candidates: readonly Candidate[], room: Room): Promise<Map<string, string[]>> {
  const pools = [...room.keys()].filter((resource) => resource.startsWith('pool:'));
  const found = new Map<string, string[]>();
  if (candidates.length === 0 || pools.length === 0) return found;
  const rows = await manager.query<{ job_id: string; resource: string }[]>(
    `SELECT job_id, resource FROM claims WHERE job_id IN (${marks(candidates)}) AND resource IN (${marks(pools)})`,
    [...candidates.map(({ job_id }) => job_id), ...pools],
  );
  for (const { job_id, resource } of rows) found.set(job_id, [...(found.get(job_id) ?? []), resource]);
  return found;
}

/** Takes from `room` what they need. */
function choose(candidates: readonly Candidate[], pools: ReadonlyMap<string, string[]>, room: Room): Candidate[] {
  return candidates.filter(({ job_id, node_id }) => {
    const needed = [`node:${node_id}`, ...(pools.get(job_id) ?? [])].filter((resource) => room.has(resource));
    if (needed.some((resource) => (room.get(resource) ?? 0) <= 0)) return false;
    for (const resource of needed) room.set(resource, (room.get(resource) ?? 0) - 1);
    return true;
  });
}

async function letGo(manager: EntityManager, chosen: readonly Candidate[]): Promise<void> {
  if (chosen.length === 0) return;
  await manager.query(
    `UPDATE outbox SET status = 'pending' WHERE status = 'held' AND id IN (${marks(chosen)})`,
    chosen.map(({ id }) => id),
  );
}

const marks = (items: readonly unknown[]): string => items.map(() => '?').join(', ');
