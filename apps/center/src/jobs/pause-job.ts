/** Somebody wants a job to stand still, or to go on. */
import { isPausable, isTerminal, PermanentError } from '@openservice/domain';
import type { EntityManager, Job } from '@openservice/store';
import { closeCommands, command, commandRunAnew, neverLeft } from './attempts.ts';
import { fromNow } from './clock.ts';
import { moveAway } from './move-away.ts';
import { addHistory, lockJob, move } from './transition.ts';

/** How long a node may take to go on with a job before it is told again, ms. */
const RESUME_AGAIN_MS = 60_000;

/**
 * A job whose command never left stands still at once; any other is told to its node, and becomes `paused` on the node's word alone (poke the
 * relay after the commit). Asked again, nothing changes. PermanentError `job_not_found`, or `job_not_pausable` where the job is past that.
 */
export async function pauseJob(manager: EntityManager, jobId: string, who: string): Promise<void> {
  const job = await lockJob(manager, jobId);
  if (job === null) throw new PermanentError('job_not_found', `There is no job ${jobId}.`);
  if (job.pause_wanted && (job.state === 'paused' || isPausable(job.state))) return;
  if (job.state !== 'paused' && !isPausable(job.state)) throw notPausable(job);
  await want(manager, job, true);
  const held = job.state === 'queued' && (await closeCommands(manager, job.id, { type: 'run', neverSent: true })) > 0;
  if (held) {
    await move(manager, job, 'paused', `Paused before it began, by ${who}.`);
    return;
  }
  await closeCommands(manager, job.id, { type: 'resume' });
  await command(manager, job, 'pause');
  await addHistory(manager, job, job.state, job.state, `${capital(who)} wants the job paused; it stops at its next checkpoint.`);
}

/**
 * A paused job goes on: where it was, or elsewhere if that node is gone or is being drained. A pause that has not taken effect is taken back.
 * Asked again, nothing changes. PermanentError `job_not_found`, or `job_not_paused` where nobody wanted it paused.
 */
export async function resumeJob(manager: EntityManager, jobId: string, who: string): Promise<void> {
  const job = await lockJob(manager, jobId);
  if (job === null) throw new PermanentError('job_not_found', `There is no job ${jobId}.`);
  await resume(manager, job, `Resumed by ${who}.`);
}

/** As resumeJob, for a job that is locked; `note` is for its history. */
export async function resume(manager: EntityManager, job: Job, note: string): Promise<void> {
  if (job.state === 'paused' && !job.pause_wanted) return;
  if (!job.pause_wanted || isTerminal(job.state)) throw notPaused(job);
  await want(manager, job, false);
  await closeCommands(manager, job.id, { type: 'pause' });
  if (job.state !== 'paused') {
    await command(manager, job, 'resume');
    await addHistory(manager, job, job.state, job.state, note);
    return;
  }
  if ((await moveAway(manager, job, note)) === null) return;
  if (await neverLeft(manager, job)) {
    await move(manager, job, 'queued', note);
    await commandRunAnew(manager, job);
    return;
  }
  await resumeAtNode(manager, job);
  await addHistory(manager, job, job.state, job.state, note);
}

/** The node is told to go on with the attempt; the job is `running` on its word. */
export async function resumeAtNode(manager: EntityManager, job: Job): Promise<void> {
  await command(manager, job, 'resume');
  await manager.query(`UPDATE jobs SET deadline_at = ${fromNow(RESUME_AGAIN_MS)} WHERE id = ?`, [job.id]);
}

async function want(manager: EntityManager, job: Job, paused: boolean): Promise<void> {
  job.pause_wanted = paused;
  await manager.query('UPDATE jobs SET pause_wanted = ? WHERE id = ?', [paused ? 1 : 0, job.id]);
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

function notPausable(job: Job): PermanentError {
  const why = isTerminal(job.state)
    ? 'it has ended'
    : job.state === 'cancelling'
      ? 'it is being cancelled'
      : 'all its data is there and only the commit is left; it ends by itself';
  return new PermanentError('job_not_pausable', `Job ${job.id} is ${job.state}: ${why}, so it cannot be paused.`);
}

function notPaused(job: Job): PermanentError {
  const how = job.state === 'failed' || job.state === 'cancelled' ? ' Start it anew with action=retry.' : '';
  return new PermanentError(
    'job_not_paused',
    `Job ${job.id} is ${job.state} and nobody paused it, so there is nothing to resume.${how}`,
  );
}
