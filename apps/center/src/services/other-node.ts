/** Which other node can do the work of a job whose own node is gone, or is being drained. */
import { type EntityManager, type Job, NodeSchema, type Pool } from '@openservice/store';
import { nodeOfPool } from './placement.ts';
import { poolsOf } from './read-from.ts';

export type Elsewhere = { nodeId: string } | { why: string };

/** Of work on what only one node has. */
const BOUND_KINDS: ReadonlySet<string> = new Set(['load', 'unload', 'save', 'rewind', 'hydrate']);
const LOCAL_HOSTS = /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/i;
/** Jobs that a node has now. */
const HAS = "'dispatched', 'accepted', 'running', 'preparing', 'committing'";

/**
 * Another node that is online, knows the kind, and reaches both ends: rather one in whose directory an end lies, then the one with the fewest
 * jobs. Else why there is none; a sentence.
 */
export async function otherNode(manager: EntityManager, job: Job): Promise<Elsewhere> {
  const bound = boundBy(job);
  if (bound !== null) return { why: `only node ${job.node_id} can do it: ${bound}.` };
  const pools = await poolsOf(manager, poolIds(job));
  const own = pools.find((pool) => holderOf(pool) === job.node_id);
  if (own !== undefined) return { why: `only node ${job.node_id} can do it: pool ${own.id} lies there.` };
  const holders = new Set(pools.map(holderOf).filter((id) => id !== null));
  const online = await onlineNodes(manager, job);
  const missing = [...holders].find((id) => !online.some((node) => node.id === id));
  if (missing !== undefined) return { why: `no other node reaches both ends while node ${missing} is not online.` };
  const able = online.filter(({ kinds }) => kinds.includes(job.kind));
  const bindings = new Set(pools.map(nodeOfPool));
  const best = able.toSorted((a, b) => Number(bindings.has(b.id)) - Number(bindings.has(a.id)) || a.jobs - b.jobs)[0];
  return best === undefined ? { why: 'no other node that can do it is online.' } : { nodeId: best.id };
}

const poolIds = (job: Job): string[] =>
  job.claims.flatMap(({ resource }) => (resource.startsWith('pool:') ? [resource.slice('pool:'.length)] : []));

/** The node without which nobody reaches the pool; null: it is reached by itself. */
const holderOf = (pool: Pool): string | null => (pool.type === 's3' ? null : pool.node_id);

/** What of its parameters binds the job to its node, or null. */
function boundBy({ kind, params }: Pick<Job, 'kind' | 'params'>): string | null {
  if (BOUND_KINDS.has(kind)) return 'the instance is there';
  const source = params.source as { type?: string; url?: string; uri?: string } | undefined;
  if (source?.type === 'file') return 'the file that it reads is there';
  if (source?.type === 'content') return 'what the client sent is there';
  if (isLocal(source?.url ?? source?.uri)) return 'what it reads is reached from there alone';
  const target = params.target as { type?: string } | undefined;
  if (target?.type === 'file') return 'the file that it writes is there';
  // Nothing refuses an old attempt there: two nodes must never write to it.
  if (target?.type === 'nbd') return 'an NBD server takes what an old attempt still writes';
  return null;
}

function isLocal(place: string | undefined): boolean {
  if (place === undefined) return false;
  const url = URL.parse(place);
  return url === null || url.protocol.includes('+unix') || url.hostname === '' || LOCAL_HOSTS.test(url.hostname);
}

interface Candidate {
  id: string;
  kinds: string[];
  jobs: number;
}

/** But for the job's own. */
async function onlineNodes(manager: EntityManager, job: Job): Promise<Candidate[]> {
  const nodes = await manager.find(NodeSchema, { where: { state: 'online' }, order: { id: 'ASC' } });
  const counts = await manager.query<{ node_id: string; n: number | string }[]>(
    `SELECT node_id, COUNT(*) AS n FROM jobs FORCE INDEX (jobs_state) WHERE state IN (${HAS}) GROUP BY node_id`,
  );
  const jobs = new Map(counts.map(({ node_id, n }) => [node_id, Number(n)]));
  return nodes.flatMap(({ id, kinds }) => (id === job.node_id ? [] : [{ id, kinds, jobs: jobs.get(id) ?? 0 }]));
}
