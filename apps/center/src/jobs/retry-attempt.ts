/** An attempt that failed for a reason that may pass is made again, later each time. The center alone decides that. */
import type { EntityManager, Job } from '@openservice/store';
import { nodeForNext } from './move-away.ts';
import { newAttempt } from './transition.ts';

/** After this many failed attempts a transient failure is for good. */
export const MOST_ATTEMPTS = 8;
const FIRST_RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 60_000;

/** Full jitter: jobs that failed together (a store was away) must not come back together. `failures`: before this one. */
export function retryDelayMs(failures: number, random: () => number = Math.random): number {
  return Math.round(random() * Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures));
}

/** A further attempt; false when the job has had all of them. */
export async function retry(manager: EntityManager, job: Job, error: { code: string; message: string }): Promise<boolean> {
  if (job.failures + 1 >= MOST_ATTEMPTS) return false;
  const delayMs = retryDelayMs(job.failures);
  const nodeId = await nodeForNext(manager, job);
  const where = nodeId === job.node_id ? '' : ` on node ${nodeId}`;
  const why = `Attempt ${job.attempt} failed (${error.code}: ${error.message}); the next begins${where} in ${delayMs} ms.`;
  return newAttempt(manager, job, why, { delayMs, nodeId, failed: true });
}
