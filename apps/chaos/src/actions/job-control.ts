/** What a client does to jobs that it began. */
import { isOver, type KnownJob } from '../model/model.ts';
import type { Action } from './action.ts';
import { someJob } from './targets.ts';

/** Tried again, these would take what the instance holds by then, which the model does not follow. */
const NOT_AGAIN = ['save', 'unload', 'load', 'rewind', 'hydrate'];

function onJob(kind: 'cancel' | 'retry' | 'pause' | 'resume', weight: number, fits: (job: KnownJob) => boolean): Action {
  return {
    kind,
    weight,
    async run(hands, draw) {
      const job = someJob(hands, draw, fits);
      if (job === undefined) return false;
      const { origin } = job;
      await hands.ask({
        kind,
        method: 'POST',
        path: `/jobs/${job.id}?action=${kind}`,
        // A new job on the same block.
        about: { ...(kind === 'retry' ? origin.about : {}), job: job.id },
      });
      return true;
    },
  };
}

export const cancelJob = onJob('cancel', 4, (job) => !isOver(job));
export const retryJob = onJob(
  'retry',
  3,
  (job) => ['failed', 'cancelled'].includes(job.state) && !NOT_AGAIN.includes(job.origin.kind),
);
export const pauseJob = onJob('pause', 5, (job) => !isOver(job));
export const resumeJob = onJob('resume', 5, (job) => job.state === 'paused' || !isOver(job));
