/**
 * The only place that changes a job's state (`transition-many.ts` does the same to many jobs at once). The caller holds the job's row lock (`lockJob`) and its transaction; the
 * history, the deadline and, at the end, the claims and what the kind means for blocks and pools go with it.
 */
import { isTerminal, JOB_STATE_RULES, type JobState, mayFollow, PermanentError } from '@openservice/domain';
import type { JobResult } from '@openservice/protocol';
import { type EntityManager, type Job, JobSchema, type Writer } from '@openservice/store';
import { recordBlocks, recordJobEvent } from '../events/record.ts';
import { KINDS } from './apply/all.ts';
import { closeCommands, commandRun, recordAttempt } from './attempts.ts';
import { releaseClaims } from './claims.ts';
import { fromNow, NOW } from './clock.ts';

const MAX_NOTE = 2000;

/** The job's row, locked until the transaction ends; null when there is none. */
export async function lockJob(manager: EntityManager, jobId: string): Promise<Job | null> {
  return manager.findOne(JobSchema, { where: { id: jobId }, lock: { mode: 'pessimistic_write' } });
}

/** Adds a line to the job's history. */
export async function addHistory(
  manager: Writer,
  job: Pick<Job, 'id' | 'attempt'>,
  from: JobState | null,
  to: JobState,
  note: string | null,
): Promise<void> {
  await manager.query(
    `INSERT INTO job_transitions (job_id, attempt, from_state, to_state, note, at) VALUES (?, ?, ?, ?, ?, ${NOW})`,
    [job.id, job.attempt, from, to, note === null ? null : note.slice(0, MAX_NOTE)],
  );
  await recordJobEvent(manager, job, from, to, note);
}

/** Events may be lost or overtake each other, so a job may be seen first in a later state: it then ran, unseen. */
export function waypoint(from: JobState, to: JobState): JobState[] | null {
  if (mayFollow(from, to)) return [to];
  if (mayFollow(from, 'running') && mayFollow('running', to)) return ['running', to];
  return null;
}

/** True when the job can come from `from` to `to`, over `running` where that was not seen. */
export function canReach(from: JobState, to: JobState): boolean {
  return waypoint(from, to) !== null;
}

/** Moves `job` (which is updated in place) to a state that is not terminal. False, and nothing done, when it cannot go there. */
export async function move(manager: EntityManager, job: Job, to: JobState, note: string | null = null): Promise<boolean> {
  if (isTerminal(to)) throw new PermanentError('internal', `A job ends through finish(), not through move() to ${to}.`);
  return step(manager, job, to, note);
}

/** Columns that change with the state. */
interface More {
  set: string;
  values: unknown[];
}

async function step(manager: EntityManager, job: Job, to: JobState, note: string | null, more?: More): Promise<boolean> {
  const path = waypoint(job.state, to);
  if (path === null) return false;
  for (const state of path) {
    await addHistory(manager, job, job.state, state, state === to ? note : null);
    job.state = state;
  }
  const { deadlineMs } = JOB_STATE_RULES[to];
  const started = path.includes('running') ? `, started_at = COALESCE(started_at, ${NOW})` : '';
  const finished = isTerminal(to) ? `, finished_at = ${NOW}, eta_ms = ${to === 'succeeded' ? '0' : 'NULL'}` : '';
  await manager.query(
    `UPDATE jobs SET state = ?, event_seq = ?, next_attempt_at = NULL, deadline_at = ${deadlineMs === null ? 'NULL' : fromNow(deadlineMs)}${started}${finished}${more === undefined ? '' : `, ${more.set}`} WHERE id = ?`,
    [to, job.event_seq, ...(more?.values ?? []), job.id],
  );
  return true;
}

export type Ending =
  | { state: 'succeeded'; result: JobResult }
  | { state: 'failed' | 'cancelled'; error: { code: string; message: string } };

/** Ends `job` once and for all, and applies what that means. False, and nothing done, when it cannot end so. */
export async function finish(manager: EntityManager, job: Job, ending: Ending): Promise<boolean> {
  const note = ending.state === 'succeeded' ? null : `${ending.error.code}: ${ending.error.message}`;
  if (!(await step(manager, job, ending.state, note, columnsOf(ending)))) return false;
  const kind = KINDS[job.kind];
  if (ending.state === 'succeeded') {
    await kind.succeeded(manager, job, ending.result);
  } else {
    await kind.ended(manager, job, ending.error);
  }
  await closeCommands(manager, job.id);
  await releaseClaims(manager, job.id);
  await recordBlocks(manager, job);
  return true;
}

function columnsOf(ending: Ending): More {
  if (ending.state === 'succeeded')
    return { set: 'result = ?, error_code = NULL, error_message = NULL', values: [JSON.stringify(ending.result)] };
  const { code, message } = ending.error;
  return { set: 'error_code = ?, error_message = ?', values: [code, message.slice(0, 2000)] };
}

export interface NewAttempt {
  /** When it begins, ms from now. */
  delayMs?: number;
  /** Where it runs. Default: where the last one did. */
  nodeId?: string;
  /** The last one failed, which is not done without end. */
  failed?: boolean;
}

/**
 * Gives `job` a new attempt with a new fence; what the old one still does is refused from here on. Where somebody wants the job paused, the
 * attempt waits for a resume. False, and nothing done, in a state from which there is none.
 */
export async function newAttempt(manager: EntityManager, job: Job, why: string, options: NewAttempt = {}): Promise<boolean> {
  const { delayMs = 0, nodeId = job.node_id, failed = false } = options;
  if (job.state === 'queued') await addHistory(manager, job, 'queued', 'queued', why);
  else if (!(await step(manager, job, 'queued', why))) return false;
  await closeCommands(manager, job.id);
  job.attempt += 1;
  job.node_id = nodeId;
  job.fence = await recordAttempt(manager, job.id, job.attempt, nodeId);
  job.event_seq = 0;
  if (failed) job.failures += 1;
  await manager.query(
    `UPDATE jobs SET attempt = ?, node_id = ?, fence = ?, failures = ?, event_seq = 0, bytes_sent_before = bytes_sent, rate = 0, eta_ms = NULL,
     next_attempt_at = ${delayMs === 0 ? 'NULL' : fromNow(delayMs)},
     deadline_at = ${fromNow((JOB_STATE_RULES.queued.deadlineMs ?? 0) + delayMs)} WHERE id = ?`,
    [job.attempt, nodeId, job.fence, job.failures, job.id],
  );
  if (job.pause_wanted) await step(manager, job, 'paused', 'It is to be paused, so the next attempt waits for a resume.');
  else await commandRun(manager, job, delayMs);
  return true;
}
