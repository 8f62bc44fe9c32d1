import { type Check, isTerminal } from './check.ts';

export const claimsHeld: Check = {
  name: 'claims-held',
  promise: 'No claim is held without a job that runs, and no command waits for a job that has ended.',
  find({ rows }) {
    const jobs = new Map(rows.jobs.map((job) => [job.id, job]));
    const over = (id: string) => isTerminal(jobs.get(id)?.state ?? 'succeeded');
    const claims = rows.claims
      .filter(({ job_id }) => over(job_id))
      .map(({ resource, job_id }) => ({
        job: job_id,
        what: `${resource} is claimed by job ${job_id}, which is ${jobs.get(job_id)?.state ?? 'not known'}.`,
      }));
    const commands = rows.outbox
      .filter(({ job_id }) => over(job_id))
      .map(({ type, job_id }) => ({
        job: job_id,
        what: `A command ${type} waits to be sent for job ${job_id}, which is ${jobs.get(job_id)?.state ?? 'not known'}.`,
      }));
    return [...claims, ...commands];
  },
};
