import type { Action } from './action.ts';

/** How many jobs a node or a pool has at a time, and how fast they are; as often none. */
export const limit: Action = {
  kind: 'limit',
  weight: 3,
  async run(hands, draw) {
    const [node, pool] = [draw.pick(hands.nodes), draw.pick(hands.pools)];
    const what = draw.chance(0.5) ? `/nodes/${node}` : `/pools/${pool.id}`;
    const maxJobs = draw.int(1, 4);
    const bandwidth = draw.int(1_000_000, 20_000_000);
    const none = draw.chance(0.5);
    const body = none ? { max_jobs: null, bandwidth: null } : { max_jobs: maxJobs, bandwidth };
    await hands.ask({ kind: 'limit', method: 'POST', path: `${what}?action=limit`, body, about: {} });
    return true;
  },
};
