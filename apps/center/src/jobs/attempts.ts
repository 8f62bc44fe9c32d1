/** Attempts: each dispatch of a job has a number within the job and a fence that grows over all jobs. */
import type { CommandType } from '@openservice/protocol';
import type { EntityManager, Job, Writer } from '@openservice/store';
import { fromNow, NOW } from './clock.ts';

/** Records attempt `attempt` and answers its fence. */
export async function recordAttempt(manager: EntityManager, jobId: string, attempt: number, nodeId: string): Promise<number> {
  const { insertId } = await manager.query<{ insertId: number | string }>(
    `INSERT INTO job_attempts (job_id, attempt, node_id, created_at) VALUES (?, ?, ?, ${NOW})`,
    [jobId, attempt, nodeId],
  );
  return Number(insertId);
}

/** True when that node was given that attempt: what it says of it is late at worst, and no forgery. */
export async function wasGiven(manager: EntityManager, jobId: string, attempt: number, nodeId: string): Promise<boolean> {
  const rows = await manager.query<unknown[]>('SELECT fence FROM job_attempts WHERE job_id = ? AND attempt = ? AND node_id = ?', [
    jobId,
    attempt,
    nodeId,
  ]);
  return rows.length === 1;
}

type Commanded = Pick<Job, 'id' | 'kind' | 'attempt' | 'fence' | 'params' | 'node_id' | 'traceparent' | 'priority'>;
/** What tells a node about a job that it has. */
export type ControlType = Exclude<CommandType, 'run' | 'sync'>;

/** Before every run. */
const CONTROL_PRIORITY = 0;

/** SQL over the command's node and job (parameters: node, job): does a limit stand in front of it? */
const IS_LIMITED = `EXISTS (SELECT 1 FROM nodes WHERE id = ? AND max_jobs IS NOT NULL)
  OR EXISTS (SELECT 1 FROM claims c JOIN pools p ON c.resource = CONCAT('pool:', p.id) WHERE c.job_id = ? AND p.max_jobs IS NOT NULL)`;

/**
 * The command that starts the job's current attempt, due in `delayMs`. Where a limit stands in front of it, it is `held`, and the relay lets
 * it go once there is room (`relay/admission.ts`). The job's claims must be there.
 */
export async function commandRun(manager: Writer, job: Commanded, delayMs = 0): Promise<void> {
  const payload = { kind: job.kind, fence: job.fence, params: job.params, priority: job.priority };
  await manager.query(
    `INSERT INTO outbox (node_id, type, job_id, attempt, payload, traceparent, priority, status, tries, next_at, created_at)
     SELECT ?, 'run', ?, ?, ?, ?, ?, IF(${IS_LIMITED}, 'held', 'pending'), 0, ${fromNow(delayMs)}, ${NOW}`,
    [job.node_id, job.id, job.attempt, JSON.stringify(payload), job.traceparent, job.priority, job.node_id, job.id],
  );
}

/** Sent again and again until `closeCommands`. One that the attempt has already goes again at once. */
export async function command(manager: EntityManager, job: Commanded, type: ControlType, payload: object = {}): Promise<void> {
  if (await sendAgain(manager, job, type)) return;
  await manager.query(
    `INSERT INTO outbox (node_id, type, job_id, attempt, payload, traceparent, priority, status, tries, next_at, created_at)
     VALUES (?, ?, ?, ?, ?, ?, ${CONTROL_PRIORITY}, 'pending', 0, ${NOW}, ${NOW})`,
    [job.node_id, type, job.id, job.attempt, JSON.stringify(payload), job.traceparent],
  );
}

export async function commandCancel(manager: EntityManager, job: Commanded, reason: string): Promise<void> {
  await command(manager, job, 'cancel', { reason: reason.slice(0, 1000) });
}

/** Nothing of this job (of `type`, where given) needs to be sent any more. Answers how many rows that closed. */
export async function closeCommands(
  manager: EntityManager,
  jobId: string,
  which: { type?: CommandType; neverSent?: boolean } = {},
): Promise<number> {
  const { affectedRows } = await manager.query<{ affectedRows: number }>(
    `UPDATE outbox SET status = 'done' WHERE job_id = ? AND status <> 'done'
     ${which.type === undefined ? '' : `AND type = '${which.type}'`} ${which.neverSent === true ? 'AND tries = 0' : ''}`,
    [jobId],
  );
  return affectedRows;
}

/** Sends the command of `type` for the current attempt again, at once and under a new message id; one that is held stays so. False: there is none. */
export async function sendAgain(manager: EntityManager, job: Pick<Job, 'id' | 'attempt'>, type: CommandType): Promise<boolean> {
  const { affectedRows } = await manager.query<{ affectedRows: number }>(
    `UPDATE outbox SET status = IF(status = 'held', 'held', 'pending'), next_at = IF(status = 'held', next_at, ${NOW})
     WHERE job_id = ? AND attempt = ? AND type = ?`,
    [job.id, job.attempt, type],
  );
  return affectedRows > 0;
}

/** True while the current attempt's command to run waits for room. */
export async function isHeld(manager: EntityManager, job: Pick<Job, 'id' | 'attempt'>): Promise<boolean> {
  const rows = await manager.query<unknown[]>(
    "SELECT id FROM outbox WHERE job_id = ? AND attempt = ? AND type = 'run' AND status = 'held'",
    [job.id, job.attempt],
  );
  return rows.length > 0;
}

/** True when no relay has taken the current attempt's command up: its node cannot know of it. Call `closeCommands(neverSent)` first where it is to stay so. */
export async function neverLeft(manager: EntityManager, job: Pick<Job, 'id' | 'attempt' | 'event_seq'>): Promise<boolean> {
  if (job.event_seq > 0) return false;
  const rows = await manager.query<unknown[]>(
    "SELECT id FROM outbox WHERE job_id = ? AND attempt = ? AND type = 'run' AND tries > 0 LIMIT 1",
    [job.id, job.attempt],
  );
  return rows.length === 0;
}

/** The command of an attempt that was paused before it left; one of that attempt is all there may be. */
export async function commandRunAnew(manager: EntityManager, job: Commanded): Promise<void> {
  await manager.query("DELETE FROM outbox WHERE job_id = ? AND attempt = ? AND type = 'run' AND tries = 0", [
    job.id,
    job.attempt,
  ]);
  await commandRun(manager, job);
}
