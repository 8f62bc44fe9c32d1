import { type Check, isTerminal } from './check.ts';

export const oneCommit: Check = {
  name: 'one-commit',
  promise: 'A job ends once, commits once, and what pools hold was committed by an attempt that the center knows.',
  find({ rows, pools }) {
    const ends = new Map<string, string[]>();
    for (const { job_id, to_state } of rows.transitions) {
      if (isTerminal(to_state)) ends.set(job_id, [...(ends.get(job_id) ?? []), to_state]);
    }
    const twice = [...ends]
      .filter(([, states]) => states.length > 1)
      .map(([job, states]) => ({ job, what: `Job ${job} ended ${states.length} times: ${states.join(', ')}.` }));
    // Attempts that failed and were followed by another have an end each; success comes once.
    const applied = new Map<string, string[]>();
    for (const { job_id, attempt, type, applied: done } of rows.inbox) {
      if (done !== 1 || !isTerminal(type)) continue;
      for (const key of [`${job_id} attempt ${attempt}`, ...(type === 'succeeded' ? [`${job_id} success`] : [])]) {
        applied.set(key, [...(applied.get(key) ?? []), type]);
      }
    }
    const twiceApplied = [...applied]
      .filter(([, types]) => types.length > 1)
      .map(([key, types]) => ({
        job: key.split(' ')[0],
        what: `Events that end job ${key} were applied ${types.length} times: ${types.join(', ')}.`,
      }));
    const owners = new Map(rows.attempts.map((one) => [one.fence, one]));
    const jobs = new Map(rows.jobs.map((job) => [job.id, job]));
    const strangers = pools.flatMap(({ pool, ledgers }) =>
      [...ledgers].flatMap(([block, { state, jobId, attempt, fence }]) => {
        if (state !== 'committed') return [];
        const by = `Block ${block} in ${pool.name} was committed by attempt ${attempt} of job ${jobId} (fence ${fence})`;
        const [job, owner] = [jobs.get(jobId), owners.get(fence)];
        if (job === undefined) return [{ block, what: `${by}, which the center does not know.` }];
        if (owner === undefined) return [{ block, job: jobId, what: `${by}, and the center never gave out that fence.` }];
        // Out of the trash an entry keeps its writer and has the fence of the job that brought it back.
        const brought = jobs.get(owner.job_id)?.kind === 'undelete';
        if (!brought && (owner.job_id !== jobId || owner.attempt !== attempt)) {
          return [{ block, job: jobId, what: `${by}; that fence is of attempt ${owner.attempt} of job ${owner.job_id}.` }];
        }
        if (job.state !== 'succeeded' && !recorded(job.kind))
          return [{ block, job: jobId, what: `${by}, and the job is ${job.state}.` }];
        return [];
      }),
    );
    return [...twice, ...twiceApplied, ...strangers];
  },
};

/** Their targets are recorded on the way, and stay when the job fails later. */
const recorded = (kind: string): boolean => ['move', 'hydrate'].includes(kind);
