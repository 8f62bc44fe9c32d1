import type { Check } from './check.ts';

export const deadLetters: Check = {
  name: 'dead-letters',
  promise: 'No message was put aside as not understood.',
  find: ({ rows }) =>
    rows.deadLetters.map(({ subject, reason }) => ({
      job: /job-[0-9a-z]+/.exec(subject)?.[0],
      what: `A message at ${subject} was put aside: ${reason}`,
    })),
};
