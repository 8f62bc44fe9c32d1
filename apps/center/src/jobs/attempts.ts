/** Attempts: each dispatch of a job has a number within the job and a fence that grows over all jobs. */
import type { EntityManager, Job } from '@openservice/store';
import { fromNow, NOW } from './clock.ts';

/** Records attempt `attempt` and answers its fence. */
export async function recordAttempt(manager: EntityManager, jobId: string, attempt: number, nodeId: string): Promise<number> {
  const { insertId } = await manager.query<{ insertId: number | string }>(
    `INSERT INTO job_attempts (job_id, attempt, node_id, created_at) VALUES (?, ?, ?, ${NOW})`,
    [jobId, attempt, nodeId],
  );
  return Number(insertId);
}

type Commanded = Pick<Job, 'id' | 'kind' | 'attempt' | 'fence' | 'params' | 'node_id' | 'traceparent'>;

async function insertCommand(manager: EntityManager, job: Commanded, type: 'run' | 'cancel', payload: object, delayMs: number) {
  await manager.query(
    `INSERT INTO outbox (node_id, type, job_id, attempt, payload, traceparent, status, tries, next_at, created_at)
     VALUES (?, ?, ?, ?, ?, ?, 'pending', 0, ${fromNow(delayMs)}, ${NOW})`,
    [job.node_id, type, job.id, job.attempt, JSON.stringify(payload), job.traceparent],
  );
}

/** The command that starts the job's current attempt, due in `delayMs`. */
export async function commandRun(manager: EntityManager, job: Commanded, delayMs = 0): Promise<void> {
  await insertCommand(manager, job, 'run', { kind: job.kind, fence: job.fence, params: job.params }, delayMs);
}

export async function commandCancel(manager: EntityManager, job: Commanded, reason: string): Promise<void> {
  await insertCommand(manager, job, 'cancel', { reason: reason.slice(0, 1000) }, 0);
}

/** Nothing of this job (of `type`, where given) needs to be sent any more. Answers how many rows that closed. */
export async function closeCommands(
  manager: EntityManager,
  jobId: string,
  which: { type?: 'run' | 'cancel'; neverSent?: boolean } = {},
): Promise<number> {
  const { affectedRows } = await manager.query<{ affectedRows: number }>(
    `UPDATE outbox SET status = 'done' WHERE job_id = ? AND status = 'pending'
     ${which.type === undefined ? '' : `AND type = '${which.type}'`} ${which.neverSent === true ? 'AND tries = 0' : ''}`,
    [jobId],
  );
  return affectedRows;
}

/** Sends the command of `type` for the current attempt again, at once and under a new message id. False: there is none. */
export async function sendAgain(
  manager: EntityManager,
  job: Pick<Job, 'id' | 'attempt'>,
  type: 'run' | 'cancel',
): Promise<boolean> {
  const { affectedRows } = await manager.query<{ affectedRows: number }>(
    `UPDATE outbox SET status = 'pending', next_at = ${NOW} WHERE job_id = ? AND attempt = ? AND type = ?`,
    [job.id, job.attempt, type],
  );
  return affectedRows > 0;
}
