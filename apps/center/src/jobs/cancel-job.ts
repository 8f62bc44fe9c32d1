/** Somebody wants a job to stop. */
import { isCancellable, isTerminal, PermanentError } from '@openservice/domain';
import type { EntityManager, Job } from '@openservice/store';
import { closeCommands, commandCancel, neverLeft } from './attempts.ts';
import { finish, lockJob, move } from './transition.ts';

/**
 * Ends the job at once where its command never left, else asks the node to stop (state `cancelling`; poke the relay after
 * the commit). Asked again while it is cancelling or cancelled, nothing changes. PermanentError `job_not_found` or, past the
 * point of no return, `job_not_cancellable`.
 */
export async function cancelJob(manager: EntityManager, jobId: string, reason: string): Promise<void> {
  const job = await lockJob(manager, jobId);
  if (job === null) throw new PermanentError('job_not_found', `There is no job ${jobId}.`);
  if (job.state === 'cancelling' || job.state === 'cancelled') return;
  if (!isCancellable(job.state)) {
    const why = isTerminal(job.state) ? 'it has ended' : 'its data is being committed';
    throw new PermanentError('job_not_cancellable', `Job ${jobId} is ${job.state}: ${why}, so it cannot be cancelled.`);
  }
  const error = { code: 'cancelled', message: reason };
  if (await isHereAlone(manager, job)) {
    await finish(manager, job, { state: 'cancelled', error });
    return;
  }
  await move(manager, job, 'cancelling', reason);
  await closeCommands(manager, job.id);
  await commandCancel(manager, job, reason);
}

/** No node can know of it, and none will. After a first attempt a node must clean up what that left for the next to go on from. */
async function isHereAlone(manager: EntityManager, job: Job): Promise<boolean> {
  if (job.attempt > 1) return false;
  if (job.state === 'queued') return (await closeCommands(manager, job.id, { type: 'run', neverSent: true })) > 0;
  return job.state === 'paused' && (await neverLeft(manager, job));
}
