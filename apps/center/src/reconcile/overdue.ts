/** Jobs whose owner was silent past the deadline: somebody acts, and the history says so. */
import { isTerminal, JOB_STATE_RULES } from '@openservice/domain';
import { type DataSource, type EntityManager, inTransaction, isDatabaseAway, type Job } from '@openservice/store';
import { commandCancel, commandRun, sendAgain } from '../jobs/attempts.ts';
import { fromNow, NOW } from '../jobs/clock.ts';
import { addHistory, finish, lockJob } from '../jobs/transition.ts';
import { LEASE_MS } from '../plane.ts';
import { SUSPECT_MS } from './presence.ts';

const MOST_A_PASS = 200;
const LONG_AWAY_MS = 600_000;

/** True when commands were written for the relay. Rejects, after all were looked at, with the first that failed. */
export async function actOnOverdue(database: DataSource): Promise<boolean> {
  const rows = await database.query<{ id: string }[]>(
    `SELECT id FROM jobs WHERE deadline_at < ${NOW} ORDER BY deadline_at LIMIT ${MOST_A_PASS}`,
  );
  let failure: { error: unknown } | null = null;
  for (const { id } of rows) {
    try {
      await inTransaction(database, (manager) => actOn(manager, id));
    } catch (error) {
      if (isDatabaseAway(error)) throw error;
      // One job that cannot be acted on must not keep those behind it waiting.
      failure ??= { error };
    }
  }
  if (failure !== null) throw failure.error;
  return rows.length > 0;
}

async function actOn(manager: EntityManager, jobId: string): Promise<void> {
  const job = await lockJob(manager, jobId);
  if (job === null || isTerminal(job.state) || !(await isOverdue(manager, job.id))) return;
  const awayMs = await silence(manager, job.node_id);
  const extendMs = JOB_STATE_RULES[job.state].deadlineMs ?? 60_000;
  await manager.query(`UPDATE jobs SET deadline_at = ${fromNow(extendMs)} WHERE id = ?`, [job.id]);
  if (job.state === 'cancelling') return cancelOverdue(manager, job, awayMs);
  if (job.state === 'queued' || job.state === 'dispatched') {
    if (!(await sendAgain(manager, job, 'run'))) await commandRun(manager, job);
    return noteOnce(manager, job, away(job, awayMs) ?? 'The node has not taken the command yet; it is sent again.');
  }
  const note = away(job, awayMs);
  if (note === null) await wantSync(manager, job.node_id);
  return noteOnce(manager, job, note ?? `Node ${job.node_id} is there but silent about the job; it is asked what it holds.`);
}

async function cancelOverdue(manager: EntityManager, job: Job, awayMs: number | null): Promise<void> {
  // Past its lease a node neither commits nor deletes by itself, and what it asks later is refused.
  if (awayMs === null || awayMs > 2 * LEASE_MS) {
    const message = `The job was cancelled while node ${job.node_id} was away.`;
    await finish(manager, job, { state: 'cancelled', error: { code: 'cancelled', message } });
    return;
  }
  if (!(await sendAgain(manager, job, 'cancel'))) await commandCancel(manager, job, 'The job was cancelled.');
  await wantSync(manager, job.node_id);
  await noteOnce(manager, job, `Node ${job.node_id} has not stopped the job yet; it is told again.`);
}

async function isOverdue(manager: EntityManager, jobId: string): Promise<boolean> {
  const rows = await manager.query<unknown[]>(`SELECT id FROM jobs WHERE id = ? AND deadline_at < ${NOW}`, [jobId]);
  return rows.length > 0;
}

/** For how long the node has not been heard of, ms; null when it never was. */
async function silence(manager: EntityManager, nodeId: string): Promise<number | null> {
  const [row] = await manager.query<{ ms: string | number }[]>(
    `SELECT TIMESTAMPDIFF(MICROSECOND, last_seen_at, ${NOW}) / 1000 AS ms FROM nodes WHERE id = ?`,
    [nodeId],
  );
  return row === undefined ? null : Number(row.ms);
}

function away(job: Job, awayMs: number | null): string | null {
  if (awayMs === null) return `Node ${job.node_id} has never connected; the job waits for it.`;
  if (awayMs > LONG_AWAY_MS) return `Node ${job.node_id} has been away for more than ten minutes; start it, or cancel the job.`;
  return awayMs > SUSPECT_MS ? `Node ${job.node_id} is away; the job goes on when it is back.` : null;
}

async function wantSync(manager: EntityManager, nodeId: string): Promise<void> {
  await manager.query('UPDATE nodes SET sync_wanted = 1 WHERE id = ?', [nodeId]);
}

/** A state that lasts is noted once, not at every pass. */
async function noteOnce(manager: EntityManager, job: Job, note: string): Promise<void> {
  const [last] = await manager.query<{ note: string | null }[]>(
    'SELECT note FROM job_transitions WHERE job_id = ? ORDER BY id DESC LIMIT 1',
    [job.id],
  );
  if (last?.note !== note) await addHistory(manager, job, job.state, job.state, note);
}
