/**
 * One event, in one transaction: recorded once by (job, attempt, seq), applied only when it is of the job's current attempt,
 * newer than what was applied, and the job has not ended.
 */
import { isTerminal, PermanentError } from '@openservice/domain';
import type { JobEvent, Progress } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { closeCommands, command, wasGiven } from '../jobs/attempts.ts';
import { NOW } from '../jobs/clock.ts';
import { nodeForNext } from '../jobs/move-away.ts';
import { resumeAtNode } from '../jobs/pause-job.ts';
import { retry } from '../jobs/retry-attempt.ts';
import { addHistory, finish, lockJob, move, newAttempt } from '../jobs/transition.ts';
import { writeProgress } from './job-progress.ts';

const BEFORE_RUNNING: ReadonlySet<string> = new Set(['queued', 'dispatched', 'accepted', 'paused']);

/** `recorded`: of an old attempt, late, or of a job that ended or that nobody knows; it changes nothing. */
export type EventOutcome = 'applied' | 'recorded' | 'duplicate';

/** PermanentError `wrong_node` for an event of a node that never had the job. */
export async function applyEvent(manager: EntityManager, event: JobEvent): Promise<EventOutcome> {
  const job = await lockJob(manager, event.job_id);
  // A job that went to another node: what the old one still says of its attempt is late, and no more.
  if (job !== null && job.node_id !== event.node && !(await wasGiven(manager, job.id, event.attempt, event.node))) {
    throw new PermanentError('wrong_node', `Job ${job.id} is on node ${job.node_id}; node ${event.node} may not speak for it.`);
  }
  const current =
    job !== null &&
    event.attempt === job.attempt &&
    event.node === job.node_id &&
    event.seq > job.event_seq &&
    !isTerminal(job.state);
  const { affectedRows } = await manager.query<{ affectedRows: number }>(
    `INSERT IGNORE INTO inbox (job_id, attempt, seq, type, applied, at) VALUES (?, ?, ?, ?, ?, ${NOW})`,
    [event.job_id, event.attempt, event.seq, event.type, current ? 1 : 0],
  );
  if (affectedRows === 0) return 'duplicate';
  if (!current) return 'recorded';
  const isFirst = job.event_seq === 0;
  job.event_seq = event.seq;
  // Any event of the attempt proves that the node has its command; the first one says so for all.
  if (isFirst) await closeCommands(manager, job.id, { type: 'run' });
  await answered(manager, job, event);
  const { state } = job;
  await applyCurrent(manager, job, event);
  // A step has written it.
  if (job.state === state) await manager.query('UPDATE jobs SET event_seq = ? WHERE id = ?', [job.event_seq, job.id]);
  return 'applied';
}

/** It goes on: no resume is needed any more. If a pause took effect after all, `paused` follows. One that should stand still is told again. */
async function answered(manager: EntityManager, job: Job, event: JobEvent): Promise<void> {
  if (event.type === 'checkpoint' || (event.type === 'running' && (event.payload.resumed || job.state === 'paused'))) {
    if (!job.pause_wanted) await closeCommands(manager, job.id, { type: 'resume' });
    else if (job.state === 'paused') await command(manager, job, 'pause');
  }
}

async function applyCurrent(manager: EntityManager, job: Job, event: JobEvent): Promise<void> {
  switch (event.type) {
    case 'accepted':
      await move(manager, job, 'accepted');
      return;
    case 'running':
      if (job.state === 'running' || event.payload.resumed) {
        const note = `Resumed on node ${event.node} at ${event.payload.at}.`;
        if (!(await move(manager, job, 'running', note))) await addHistory(manager, job, job.state, job.state, note);
      } else await move(manager, job, 'running');
      return;
    case 'checkpoint':
      // A checkpoint while it prepares does not take it back.
      if (BEFORE_RUNNING.has(job.state)) await move(manager, job, 'running');
      await noteProgress(manager, job, event.payload);
      return;
    case 'paused':
      await noteProgress(manager, job, event.payload.progress);
      await paused(manager, job);
      return;
    case 'yielded':
      await noteProgress(manager, job, event.payload.progress);
      await yielded(manager, job);
      return;
    case 'preparing':
      await move(manager, job, 'preparing');
      await noteProgress(manager, job, event.payload);
      return;
    case 'succeeded':
      await noteProgress(manager, job, event.payload.progress);
      await finish(manager, job, { state: 'succeeded', result: event.payload });
      return;
    case 'failed':
      await noteProgress(manager, job, event.payload.progress);
      await failed(manager, job, event.payload.error, event.payload.transient);
      return;
    case 'cancelled': {
      await noteProgress(manager, job, event.payload.progress);
      const error = { code: 'cancelled', message: 'The job was cancelled.' };
      // From `committing` there is no way to cancelled: a node that stopped there failed.
      if (await finish(manager, job, { state: 'cancelled', error })) return;
      await finish(manager, job, { state: 'failed', error });
      return;
    }
  }
}

async function noteProgress(manager: EntityManager, job: Job, progress: Progress | null): Promise<void> {
  if (progress !== null) await writeProgress(manager, [{ ...progress, job_id: job.id, attempt: job.attempt }]);
}

async function paused(manager: EntityManager, job: Job): Promise<void> {
  await closeCommands(manager, job.id, { type: 'pause' });
  await move(manager, job, 'paused');
  // Somebody took it back meanwhile.
  if (job.state === 'paused' && !job.pause_wanted) await resumeAtNode(manager, job);
}

/** The attempt is over on the node's word, and has not failed. */
async function yielded(manager: EntityManager, job: Job): Promise<void> {
  // The cancel is on its way to the node, which then cleans up what the attempt left and says so.
  if (job.state === 'cancelling') return;
  const nodeId = await nodeForNext(manager, job);
  const where = nodeId === job.node_id ? `stays on node ${nodeId}` : `goes to node ${nodeId}`;
  await newAttempt(manager, job, `Attempt ${job.attempt} was given back by node ${job.node_id}; the next ${where}.`, { nodeId });
}

async function failed(manager: EntityManager, job: Job, error: { code: string; message: string }, transient: boolean) {
  if (job.state === 'cancelling') {
    await finish(manager, job, { state: 'cancelled', error });
    return;
  }
  if (transient && (await retry(manager, job, error))) return;
  await finish(manager, job, { state: 'failed', error });
}
