import type { Action } from './action.ts';
import { someBlock } from './targets.ts';

export const verifyBlock: Action = {
  kind: 'verify',
  weight: 4,
  async run(hands, draw) {
    const block = someBlock(hands, draw);
    const repair = draw.chance(0.3);
    if (block === undefined) return false;
    const path = `/blocks/${block.id}?action=verify`;
    await hands.ask({ kind: 'verify', method: 'POST', path, body: { sample: 1, repair }, about: { block: block.id } });
    return true;
  },
};
