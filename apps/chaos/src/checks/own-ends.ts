import type { Check } from './check.ts';

export const ownEnds: Check = {
  name: 'own-ends',
  promise: 'No center and no node ends by itself, whatever breaks around it.',
  find: ({ ownEnds: ends }) =>
    ends.map(({ name, how, at }) => ({
      what: `${name} ended by itself (${how}) ${Math.round(at / 1000)} s after the start; its log says why.`,
    })),
};
