/** What the messages of a node show: things that only the node knows, another process under its id, a clock that is off. */
import { OpenServiceError } from '@openservice/domain';
import type { CenterRequest } from '@openservice/runtime';
import { type DataSource, inTransaction } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';
import type { Plane } from '../plane.ts';
import { compareAllSoon } from './comparison-schedule.ts';
import { type Found, noteFound, replaceFound } from './report.ts';

const DAY_MS = 86_400_000;
/** A process that has lost its id asks again every few seconds. */
const TWO_PROCESSES_MS = 120_000;
/** Far more than a message is under way. */
const CLOCK_OFF_MS = 10_000;
/** Job by job no more than this is told; one is enough to know. */
const MOST_JOBS = 20;

/** Never rejects: a sync must not fail by what is only to be told. `knownJobs`: of those that the node holds. */
export async function noteSync(
  { database, log }: Pick<Plane, 'database' | 'log'>,
  request: CenterRequest<'sync'>,
  knownJobs: ReadonlyMap<string, unknown>,
  unknownInstances: readonly string[],
): Promise<void> {
  const { node_id: node } = request;
  try {
    const instances = unknownInstances.map((id) => unknownInstance(node, id));
    const { offMs, listed } = await stateOf(database, node, request.sent_at);
    const clock = Math.abs(offMs) < CLOCK_OFF_MS ? [] : [clockOff(node, offMs)];
    const jobs = request.held.filter(({ job_id }) => !knownJobs.has(job_id));
    // Nearly always: nothing to write, and a thousand nodes sync every minute.
    if (!listed && instances.length + clock.length + jobs.length === 0) return;
    await inTransaction(database, async (manager) => {
      await replaceFound(manager, `sync:${node}`, [...instances, ...clock]);
      for (const { job_id, state } of jobs.slice(0, MOST_JOBS)) {
        await noteFound(manager, `jobs:${node}`, unknownJob(node, job_id, state === 'finished'), DAY_MS);
      }
    });
    // The database may be an older one: what those jobs have made lies in pools, and is found there.
    if (jobs.length > 0) await compareAllSoon(database);
  } catch (error) {
    log.warn({ err: error, node_id: node }, 'What a sync has shown could not be written down; the next one shows it again.');
  }
}

function unknownInstance(node: string, id: string): Found {
  return {
    kind: 'unknown_instance',
    resource: `node:${node}/instance:${id}`,
    detail: `Node ${node} serves instance ${id}, which the center does not know (its database may be an older one). It is served on.`,
    remedy:
      `Save what is needed of it over NBD at the node, then stop the node and move instances/${id} out of its data directory; ` +
      'or bring the newer database back.',
  };
}

function unknownJob(node: string, id: string, finished: boolean): Found {
  return {
    kind: 'unknown_job',
    resource: `node:${node}/job:${id}`,
    detail: finished
      ? `Node ${node} had finished job ${id}, which the center does not know (its database may be an older one). What it has made lies in its pool.`
      : `Node ${node} ran job ${id}, which the center does not know (its database may be an older one). It was told to stop; its source is untouched.`,
    remedy: finished
      ? 'Nothing, where no unknown_block follows within minutes; else rebuild the pool that it names (POST /pools/{id}?action=rebuild).'
      : 'Submit it again, if it is still wanted.',
  };
}

/** How far the node's clock is ahead of the database's, ms, and whether anything of its syncs is listed. */
async function stateOf(
  database: DataSource,
  node: string,
  sentAt: string | undefined,
): Promise<{ offMs: number; listed: boolean }> {
  const [row] = await database.query<{ ms: string | number; listed: string | number }[]>(
    `SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ${NOW}) / 1000 AS ms,
       EXISTS (SELECT 1 FROM anomalies WHERE scope = ? AND expires_at IS NULL) AS listed`,
    [`sync:${node}`],
  );
  const sent = Date.parse(sentAt ?? '');
  return { offMs: Number.isNaN(sent) ? 0 : sent - Number(row?.ms ?? sent), listed: Number(row?.listed ?? 0) === 1 };
}

function clockOff(node: string, offMs: number): Found {
  const by = `${Math.round(Math.abs(offMs) / 1000)} s ${offMs > 0 ? 'ahead of' : 'behind'}`;
  return {
    kind: 'clock_off',
    resource: `node:${node}`,
    detail: `The clock of node ${node} is ${by} the database's. Leases go by the database alone; times in logs, tokens and certificates do not.`,
    remedy: `Set the clocks of node ${node} and of the database server by NTP.`,
  };
}

/** `work`, whose refusal of an older process is written down before it is told. */
export async function noteEpoch<T>(plane: Pick<Plane, 'database' | 'log'>, node: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof OpenServiceError && error.code === 'stale_epoch') await noteTwoProcesses(plane, node);
    throw error;
  }
}

async function noteTwoProcesses({ database, log }: Pick<Plane, 'database' | 'log'>, node: string): Promise<void> {
  const found: Found = {
    kind: 'two_processes',
    resource: `node:${node}`,
    detail: `An older process of node ${node} still asks: two run under one id. The newer one has the node; the older one is refused.`,
    remedy: `Stop the older process, or give it a node id (OPENSERVICE_NODE_ID) and a data directory of its own.`,
  };
  try {
    await inTransaction(database, (manager) => noteFound(manager, `epoch:${node}`, found, TWO_PROCESSES_MS));
  } catch (error) {
    log.warn({ err: error, node_id: node }, 'That two processes run under one id could not be written down; it is seen again.');
  }
}
