/** Two-step commit, the center's half: one attempt is let through, and only while it is the job's current one. */
import { type CenterReply, type CenterRequest, failpoint } from '@openservice/runtime';
import { inTransaction } from '@openservice/store';
import { lockJob, move } from '../jobs/transition.ts';
import type { Plane } from '../plane.ts';

/** Granted again when it was granted before; refused for every other attempt and once somebody asked to cancel. */
export async function prepare(
  { database }: Pick<Plane, 'database'>,
  request: CenterRequest<'prepare'>,
  node: string,
): Promise<CenterReply<'prepare'>> {
  const reply = await inTransaction(database, async (manager) => {
    const job = await lockJob(manager, request.job_id);
    const refuse = (reason: string): CenterReply<'prepare'> => ({ granted: false, reason });
    if (job === null) return refuse(`There is no job ${request.job_id}.`);
    if (job.node_id !== node) return refuse(`The job is on node ${job.node_id}.`);
    if (job.attempt !== request.attempt || job.fence !== request.fence) {
      return refuse(`Attempt ${request.attempt} is void; the job is at attempt ${job.attempt}.`);
    }
    if (job.state === 'committing') return { granted: true, reason: 'Granted before.' };
    if (!(await move(manager, job, 'committing'))) return refuse(`The job is ${job.state}.`);
    return { granted: true, reason: '' };
  });
  await failpoint('center.prepared');
  return reply;
}
