/** Jobs that carry a block from pool to pool. */
import type { Random } from '../random.ts';
import type { Action, Hands } from './action.ts';
import { someBlock } from './targets.ts';

function between(
  kind: string,
  weight: number,
  extra: (hands: Hands, draw: Random) => Record<string, unknown> = () => ({}),
): Action {
  return {
    kind,
    weight,
    makes: false,
    async run(hands, draw) {
      const block = someBlock(hands, draw);
      const pool = draw.pick(hands.pools);
      const more = extra(hands, draw);
      if (block === undefined) return false;
      await hands.ask({
        kind,
        method: 'POST',
        path: `/blocks/${block.id}?action=${kind}`,
        body: { pool_id: pool.id, ...more },
        about: { block: block.id, pool: pool.id, ...(kind === 'copy' ? { content: block.content } : {}) },
      });
      return true;
    },
  };
}

/** Now and then so slow that faults, a pause or a cancel meet it in its middle. */
function slowly(_hands: Hands, draw: Random): Record<string, unknown> {
  const slow = draw.chance(0.3) ? { bandwidth: draw.int(200_000, 2_000_000) } : {};
  return draw.chance(0.3) ? { ...slow, priority: draw.int(1, 9) } : slow;
}

export const uploadBlock = between('upload', 10, slowly);
export const copyBlock = between('copy', 7, (hands, draw) => ({ ...slowly(hands, draw), name: hands.name }));
export const moveBlock = between('move', 8, slowly);
export const restoreToPool = between('restore', 2);

export const removeReplica: Action = {
  kind: 'remove-replica',
  weight: 3,
  async run(hands, draw) {
    const block = someBlock(hands, draw);
    const pool = draw.pick(hands.pools);
    if (block === undefined) return false;
    const path = `/blocks/${block.id}?pool_id=${pool.id}`;
    await hands.ask({ kind: 'remove-replica', method: 'DELETE', path, about: { block: block.id, pool: pool.id } });
    return true;
  },
};
