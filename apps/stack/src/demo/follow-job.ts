/** Waiting for jobs, with a limit: a job that shows no progress for two minutes is an error that says where it stands. */
import { setTimeout as delay } from 'node:timers/promises';
import { isTerminal, JOB_STATES, type JobState, PermanentError, TransientError } from '@openservice/domain';
import type { ApiClient, Job } from './api-client.ts';

export const STALL_MS = 120_000;

export interface FollowOptions {
  /** Called with every answer. What it returns is waited for; true ends the following before the job does. */
  onJob?: (job: Job) => unknown;
  stallMs?: number;
  pollMs?: number;
  signal: AbortSignal;
}

/**
 * The job once it has succeeded, or once `onJob` says that it is enough. PermanentError with the job's code when it failed or was
 * cancelled, `job_stuck` when nothing about it changed for `stallMs`. A center that is away is waited for as long.
 */
export async function followJob(api: ApiClient, jobId: string, options: FollowOptions): Promise<Job> {
  const stallMs = options.stallMs ?? STALL_MS;
  let seen = '';
  let last: Job | null = null;
  let changedAt = performance.now();
  for (;;) {
    const job = await api.job(jobId).catch((error: unknown) => {
      if (error instanceof TransientError) return null;
      throw error;
    });
    if (job !== null) {
      last = job;
      const now = `${job.state} ${job.attempt} ${job.bytes_done} ${job.bytes_sent} ${job.bytes_skipped}`;
      if (now !== seen) changedAt = performance.now();
      seen = now;
      if ((await options.onJob?.(job)) === true) return job;
      if (ended(job)) return job;
    }
    if (performance.now() - changedAt > stallMs) throw stuck(jobId, last, stallMs);
    await delay(options.pollMs ?? 100, undefined, { signal: options.signal });
  }
}

function ended(job: Job): boolean {
  if (!(JOB_STATES as readonly string[]).includes(job.state)) {
    throw new PermanentError('unexpected_answer', `Job ${job.id} is in a state that is unknown here: ${job.state}.`);
  }
  if (!isTerminal(job.state as JobState)) return false;
  if (job.state === 'succeeded') return true;
  const why = job.error === null ? 'it gave no reason' : `${job.error.code}: ${job.error.message}`;
  throw new PermanentError(job.error?.code ?? `job_${job.state}`, `The ${job.kind} job ${job.id} ${job.state}: ${why}`);
}

function stuck(jobId: string, job: Job | null, stallMs: number): PermanentError {
  const where =
    job === null
      ? 'the center did not answer at all'
      : `it stands in "${job.state}" (attempt ${job.attempt}, ${job.bytes_done} of ${job.bytes_total ?? '?'} bytes)`;
  return new PermanentError('job_stuck', `Job ${jobId} made no progress for ${Math.round(stallMs / 1000)} s: ${where}.`);
}
