import type { Action } from './action.ts';

export const collectPool: Action = {
  kind: 'gc',
  weight: 3,
  async run(hands, draw) {
    const pool = draw.pick(hands.pools);
    await hands.ask({ kind: 'gc', method: 'POST', path: `/pools/${pool.id}?action=gc`, about: { pool: pool.id } });
    return true;
  },
};

export const verifyPool: Action = {
  kind: 'pool-verify',
  weight: 1,
  async run(hands, draw) {
    const pool = draw.pick(hands.pools);
    await hands.ask({
      kind: 'pool-verify',
      method: 'POST',
      path: `/pools/${pool.id}?action=verify`,
      body: { sample: draw.pick([0.1, 0.5, 1]) },
      about: { pool: pool.id },
    });
    return true;
  },
};
