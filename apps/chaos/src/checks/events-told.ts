import type { Check } from './check.ts';

export const eventsTold: Check = {
  name: 'events-told',
  promise: 'Who follows the events, through whatever center, is told each step of each job once and in order.',
  find({ rows, events }) {
    const gaps = events
      .filter(({ type }) => type === 'gap')
      .map(({ id }) => ({ what: `The stream of events told of a gap at ${id}.` }));
    const back = events.flatMap(({ id, type, job_id }, i) => {
      const before = events[i - 1]?.id ?? Number.NEGATIVE_INFINITY;
      return id > before ? [] : [{ job: job_id ?? undefined, what: `Event ${id} (${type}) came after event ${before}.` }];
    });
    const told = new Map<string, string[]>();
    for (const { type, job_id } of events) {
      if (job_id !== null && type.startsWith('job.')) told.set(job_id, [...(told.get(job_id) ?? []), type]);
    }
    const wanted = new Map<string, string[]>();
    for (const { job_id, from_state, to_state } of rows.transitions) {
      const type = from_state === to_state ? 'job.note' : `job.${to_state}`;
      wanted.set(job_id, [...(wanted.get(job_id) ?? []), type]);
    }
    const wrong = [...wanted].flatMap(([job, steps]) => {
      const got = told.get(job) ?? [];
      if (got.join() === steps.join()) return [];
      return [{ job, what: `Of job ${job} the stream told ${got.join(', ') || 'nothing'}; its history is ${steps.join(', ')}.` }];
    });
    return [...gaps, ...back, ...wrong];
  },
};
