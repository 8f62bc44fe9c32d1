import { type Check, isTerminal } from './check.ts';

export const journalsEmpty: Check = {
  name: 'journals-empty',
  promise: 'Nodes hold no attempt that has not ended, and no event that no center has: a sync has nothing to say.',
  find({ journals, rows, pausedByClient }) {
    const states = new Map(rows.jobs.map(({ id, state }) => [id, state]));
    return journals.flatMap(({ node, unfinished, unsent }) => [
      ...unfinished
        .filter(({ job_id }) => !(states.get(job_id) === 'paused' && pausedByClient.has(job_id)))
        .map(({ job_id, attempt, kind, state }) => ({
          job: job_id,
          what: `${node} holds attempt ${attempt} of job ${job_id} (${kind}) as ${state}; the center has the job as ${states.get(job_id) ?? 'not known'}.`,
        })),
      ...unsent
        .filter(({ job_id }) => isTerminal(states.get(job_id) ?? 'succeeded'))
        .map(({ job_id, attempt, seq, type }) => ({
          job: job_id,
          what: `${node} still wants to send event ${seq} (${type}) of attempt ${attempt} of job ${job_id}.`,
        })),
    ]);
  },
};
