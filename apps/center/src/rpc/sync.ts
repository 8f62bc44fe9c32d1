/**
 * Sync: a node says what it holds, the center says what becomes of it, and what the center believes to be there but is not
 * is sent again. This is how the two agree after anything was lost.
 */
import { isTerminal, type JobState } from '@openservice/domain';
import type { HeldAttempt, Verdict } from '@openservice/protocol';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { type DataSource, inTransaction } from '@openservice/store';
import { noteSync } from '../anomalies/from-sync.ts';
import { fromNow, NOW } from '../jobs/clock.ts';
import { type Plane, timesOf } from '../plane.ts';
import { ensureNodeConsumer } from '../relay/streams.ts';
import { agreeOnPauses } from './agree-on-pauses.ts';
import { staleEpoch } from './heartbeat.ts';
import { findLost } from './lost-jobs.ts';
import { agreeOnInstances } from './sync-instances.ts';

/** A node that syncs every minute keeps what it holds from being overdue. */
const HELD_MS = 120_000;
const IDS_A_QUERY = 500;

interface JobRow {
  id: string;
  attempt: number;
  state: JobState;
  node_id: string;
  pause_wanted: number | boolean;
}

export async function sync(
  plane: Plane,
  request: CenterRequest<'sync'>,
  { poke, tokenKey }: { poke: () => void; tokenKey: string },
): Promise<CenterReply<'sync'>> {
  await register(plane.database, request);
  await ensureNodeConsumer(plane.nc, request.node_id);
  const jobs = await jobsOf(plane.database, request.held);
  const answers = request.held.map((held) => ({
    job_id: held.job_id,
    attempt: held.attempt,
    verdict: verdictOn(held, jobs.get(held.job_id), request.node_id),
  }));
  const continued = answers.filter((answer) => answer.verdict === 'continue').map((answer) => answer.job_id);
  await extend(plane.database, continued);
  const lost = await findLost(plane, request.node_id, request.held);
  const paused = await agreeOnPauses(plane.database, request.held, jobs);
  const unanswered = await sendControlsAgain(plane.database, continued);
  if (lost || paused || unanswered) poke();
  const unknown = await agreeOnInstances(plane.database, request.node_id, request.instances);
  await noteSync(plane, request, jobs, unknown);
  const { heartbeatMs, leaseMs } = timesOf(plane);
  return {
    answers,
    unknown_instances: unknown,
    heartbeat_ms: heartbeatMs,
    lease_ms: leaseMs,
    pool_token_key: tokenKey,
    limits: await bandwidthOf(plane.database, request.node_id),
  };
}

export function verdictOn(held: HeldAttempt, job: JobRow | undefined, node: string): Verdict {
  const finished = held.state === 'finished';
  if (job === undefined || job.node_id !== node || held.attempt !== job.attempt) return finished ? 'forget' : 'abort';
  if (isTerminal(job.state)) return finished ? 'forget' : 'abort';
  return finished ? 'resend' : 'continue';
}

async function register(database: DataSource, node: CenterRequest<'sync'>): Promise<void> {
  await inTransaction(database, async (manager) => {
    const [known] = await manager.query<{ epoch: string | number }[]>('SELECT epoch FROM nodes WHERE id = ? FOR UPDATE', [
      node.node_id,
    ]);
    if (known !== undefined && Number(known.epoch) > node.epoch) throw staleEpoch(node.node_id);
    await manager.query(
      `INSERT INTO nodes (id, name, state, epoch, version, kinds, import_roots, pool_endpoint, pool_fingerprint, nbd_endpoint, sync_wanted,
         last_seen_at, created_at)
       VALUES (?, ?, 'online', ?, ?, ?, ?, ?, ?, ?, 0, ${NOW}, ${NOW})
       ON DUPLICATE KEY UPDATE name = VALUES(name), epoch = VALUES(epoch), version = VALUES(version), kinds = VALUES(kinds),
         import_roots = VALUES(import_roots), pool_endpoint = VALUES(pool_endpoint),
         pool_fingerprint = VALUES(pool_fingerprint), nbd_endpoint = VALUES(nbd_endpoint), sync_wanted = 0, last_seen_at = VALUES(last_seen_at),
         state = IF(state IN ('draining', 'drained'), state, 'online')`,
      [
        node.node_id,
        node.name,
        node.epoch,
        node.version,
        JSON.stringify(node.kinds),
        JSON.stringify(node.import_roots),
        node.pool_endpoint,
        node.pool_fingerprint,
        node.nbd_endpoint,
      ],
    );
  });
}

async function jobsOf(database: DataSource, held: readonly HeldAttempt[]): Promise<Map<string, JobRow>> {
  const jobs = new Map<string, JobRow>();
  for (let i = 0; i < held.length; i += IDS_A_QUERY) {
    const ids = held.slice(i, i + IDS_A_QUERY).map((one) => one.job_id);
    const rows = await database.query<JobRow[]>(
      `SELECT id, attempt, state, node_id, pause_wanted FROM jobs WHERE id IN (${ids.map(() => '?').join(', ')})`,
      ids,
    );
    for (const row of rows) jobs.set(row.id, row);
  }
  return jobs;
}

async function extend(database: DataSource, ids: readonly string[]): Promise<void> {
  for (let i = 0; i < ids.length; i += IDS_A_QUERY) {
    const some = ids.slice(i, i + IDS_A_QUERY);
    await database.query(
      `UPDATE jobs SET deadline_at = GREATEST(deadline_at, ${fromNow(HELD_MS)})
       WHERE id IN (${some.map(() => '?').join(', ')}) AND state IN ('accepted', 'running', 'preparing', 'committing')`,
      some,
    );
  }
}

/** What a node was told about a job and has not answered goes again now, not at its next turn. */
async function sendControlsAgain(database: DataSource, ids: readonly string[]): Promise<boolean> {
  let again = false;
  for (let i = 0; i < ids.length; i += IDS_A_QUERY) {
    const some = ids.slice(i, i + IDS_A_QUERY);
    const { affectedRows } = await database.query<{ affectedRows: number }>(
      `UPDATE outbox SET next_at = ${NOW} WHERE job_id IN (${some.map(() => '?').join(', ')})
       AND type IN ('pause', 'resume', 'drain') AND status = 'pending' AND next_at > ${NOW}`,
      some,
    );
    again ||= affectedRows > 0;
  }
  return again;
}

async function bandwidthOf(database: DataSource, nodeId: string): Promise<CenterReply<'sync'>['limits']> {
  const [node] = await database.query<{ bandwidth: number | null }[]>('SELECT bandwidth FROM nodes WHERE id = ?', [nodeId]);
  const pools = await database.query<{ pool_id: string; bandwidth: number }[]>(
    'SELECT id AS pool_id, bandwidth FROM pools WHERE bandwidth IS NOT NULL ORDER BY id',
  );
  return { bandwidth: node?.bandwidth ?? null, pools };
}
