/** Jobs whose owner was silent past the deadline: somebody acts, and the history says so. */
import { isTerminal, JOB_STATE_RULES } from '@openservice/domain';
import { type DataSource, type EntityManager, inTransaction, isDatabaseAway, type Job } from '@openservice/store';
import { commandCancel, commandRun, isHeld, neverLeft, sendAgain } from '../jobs/attempts.ts';
import { fromNow, NOW } from '../jobs/clock.ts';
import { moveAway } from '../jobs/move-away.ts';
import { noteOnce } from '../jobs/note-once.ts';
import { resume, resumeAtNode } from '../jobs/pause-job.ts';
import { finish, lockJob } from '../jobs/transition.ts';
import { DEFAULT_TIMES, type Times } from '../plane.ts';
import { settledFor } from '../rpc/lost-jobs.ts';

const BATCH = 200;
/** Jobs of a dead node are many at once; the rest of a pass is not to wait for all of them. */
const MOST_MS = 3_000;
const LONG_AWAY_MS = 600_000;
/** A job that a limit holds back is looked at this seldom: the relay lets it go by itself. */
const HELD_MS = 600_000;

export interface OverdueOptions {
  /** Heartbeats could have come all the time that a node may be silent (`presence.ts`). */
  wasHeard: boolean;
  times: Times;
}

/** True when commands were written for the relay. Rejects, after all were looked at, with the first that failed. */
export async function actOnOverdue(
  database: DataSource,
  options: OverdueOptions = { wasHeard: true, times: DEFAULT_TIMES },
): Promise<boolean> {
  const until = performance.now() + MOST_MS;
  let acted = false;
  let failure: { error: unknown } | null = null;
  for (;;) {
    const rows = await database.query<{ id: string }[]>(
      `SELECT id FROM jobs WHERE deadline_at < ${NOW} ORDER BY deadline_at LIMIT ${BATCH}`,
    );
    for (const { id } of rows) {
      try {
        await inTransaction(database, (manager) => actOn(manager, id, options));
        acted = true;
      } catch (error) {
        if (isDatabaseAway(error)) throw error;
        // One job that cannot be acted on must not keep those behind it waiting.
        failure ??= { error };
      }
    }
    if (rows.length < BATCH || failure !== null || performance.now() > until) break;
  }
  if (failure !== null) throw failure.error;
  return acted;
}

async function actOn(manager: EntityManager, jobId: string, { wasHeard, times }: OverdueOptions): Promise<void> {
  const job = await lockJob(manager, jobId);
  if (job === null || isTerminal(job.state) || !(await isOverdue(manager, job.id))) return;
  const awayMs = await silence(manager, job.node_id);
  const extendMs = JOB_STATE_RULES[job.state].deadlineMs ?? 60_000;
  await manager.query(`UPDATE jobs SET deadline_at = ${fromNow(extendMs)} WHERE id = ?`, [job.id]);
  // Past its lease a node neither commits nor deletes by itself, and what it asks later is refused.
  const isGone = awayMs === null || (wasHeard && awayMs > times.offlineMs);
  if (job.state === 'cancelling') return cancelOverdue(manager, job, isGone);
  let stays = '';
  if (isGone && awayMs !== null) {
    const why = await moveAway(manager, job, `Node ${job.node_id} has not been heard of for ${Math.round(awayMs / 1000)} s.`);
    if (why === null) return;
    stays = why;
  }
  if (job.state === 'paused') return pausedOverdue(manager, job);
  const gone = away(job, awayMs, times, stays);
  if (job.state === 'queued' && (await isHeld(manager, job))) {
    await manager.query(`UPDATE jobs SET deadline_at = ${fromNow(HELD_MS)} WHERE id = ?`, [job.id]);
    return noteOnce(
      manager,
      job,
      'The job waits for its turn: its node or one of its pools has as many jobs as max_jobs allows.',
    );
  }
  if (job.state === 'queued' || job.state === 'dispatched') {
    if (!(await sendAgain(manager, job, 'run'))) await commandRun(manager, job);
    return noteOnce(manager, job, gone ?? 'The node has not taken the command yet; it is sent again.');
  }
  if (gone === null) await wantSync(manager, job.node_id);
  return noteOnce(manager, job, gone ?? `Node ${job.node_id} is there but silent about the job; it is asked what it holds.`);
}

async function cancelOverdue(manager: EntityManager, job: Job, isGone: boolean): Promise<void> {
  if (isGone) {
    const message = `The job was cancelled while node ${job.node_id} was away.`;
    await finish(manager, job, { state: 'cancelled', error: { code: 'cancelled', message } });
    return;
  }
  if (!(await sendAgain(manager, job, 'cancel'))) await commandCancel(manager, job, 'The job was cancelled.');
  await wantSync(manager, job.node_id);
  await noteOnce(manager, job, `Node ${job.node_id} has not stopped the job yet; it is told again.`);
}

/** One that stands still by somebody's wish does so for as long as it may; then, and where somebody wants it to go on, the center sees to that. */
async function pausedOverdue(manager: EntityManager, job: Job): Promise<void> {
  if (!job.pause_wanted) {
    if (await neverLeft(manager, job)) return;
    await resumeAtNode(manager, job);
    await wantSync(manager, job.node_id);
    return noteOnce(manager, job, `Node ${job.node_id} has not gone on with the job yet; it is told again.`);
  }
  const mostMs = JOB_STATE_RULES.paused.deadlineMs ?? 0;
  const leftMs = mostMs - (await settledFor(manager, job.id));
  if (leftMs > 0) {
    await manager.query(`UPDATE jobs SET deadline_at = ${fromNow(leftMs)} WHERE id = ?`, [job.id]);
    return;
  }
  await resume(manager, job, `It has been paused for ${Math.round(mostMs / 86_400_000)} days, so the center lets it go on.`);
}

async function isOverdue(manager: EntityManager, jobId: string): Promise<boolean> {
  const rows = await manager.query<unknown[]>(`SELECT id FROM jobs WHERE id = ? AND deadline_at < ${NOW}`, [jobId]);
  return rows.length > 0;
}

/** For how long the node has not been heard of, ms; null when it never was. It stays so until the transaction ends: a sync waits, and then sees what became of its jobs. */
async function silence(manager: EntityManager, nodeId: string): Promise<number | null> {
  const [row] = await manager.query<{ ms: string | number }[]>(
    `SELECT TIMESTAMPDIFF(MICROSECOND, last_seen_at, ${NOW}) / 1000 AS ms FROM nodes WHERE id = ? LOCK IN SHARE MODE`,
    [nodeId],
  );
  return row === undefined ? null : Number(row.ms);
}

/** `stays`: why no other node does it; '' where that was not asked. */
function away(job: Job, awayMs: number | null, times: Times, stays: string): string | null {
  const node = `Node ${job.node_id}`;
  if (awayMs === null) return `${node} has never connected; the job waits for it.`;
  const because = stays === '' ? '' : ` The job waits for it: ${stays}`;
  if (awayMs > LONG_AWAY_MS) return `${node} has been away for more than ten minutes; start it, or cancel the job.${because}`;
  if (awayMs > times.suspectMs) return `${node} is away; the job goes on when it is back.${because}`;
  return null;
}

async function wantSync(manager: EntityManager, nodeId: string): Promise<void> {
  await manager.query('UPDATE nodes SET sync_wanted = 1 WHERE id = ?', [nodeId]);
}
