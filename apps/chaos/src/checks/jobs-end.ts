import { type Check, isTerminal } from './check.ts';

export const jobsEnd: Check = {
  name: 'jobs-end',
  promise: 'Every accepted job is known, and has ended or is explained.',
  find({ rows, models, pausedByClient }) {
    const known = new Map(rows.jobs.map((job) => [job.id, job]));
    const lost = models
      .flatMap((model) => [...model.jobs.keys()])
      .filter((id) => !known.has(id))
      .map((job) => ({ job, what: `Job ${job} was accepted (202), and the center does not know it.` }));
    const stuck = rows.jobs
      .filter(({ id, state }) => !isTerminal(state) && !(state === 'paused' && pausedByClient.has(id)))
      .map(({ id, kind, state, node_id }) => ({ job: id, what: `Job ${id} (${kind}) is still ${state} on ${node_id}.` }));
    const errorless = rows.jobs
      .filter(({ state, error_code }) => state === 'failed' && error_code === null)
      .map(({ id, kind }) => ({ job: id, what: `Job ${id} (${kind}) failed and says no reason.` }));
    const internal = rows.jobs
      .filter(({ error_code }) => error_code === 'internal')
      .map(({ id, kind, error_message }) => ({ job: id, what: `Job ${id} (${kind}) failed by a defect: ${error_message}` }));
    return [...lost, ...stuck, ...errorless, ...internal];
  },
};
