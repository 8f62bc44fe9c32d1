import { join } from 'node:path';
import type { Action } from './action.ts';
import { someBlock } from './targets.ts';

/** The files of jobs that succeeded are compared at the end. */
export const restoreToFile: Action = {
  kind: 'restore-file',
  weight: 5,
  async run(hands, draw) {
    const block = someBlock(hands, draw);
    const node = draw.pick(hands.nodes);
    if (block === undefined) return false;
    const path = join(hands.importDir(node), `${hands.name}.back`);
    await hands.ask({
      kind: 'restore-file',
      method: 'POST',
      path: `/blocks/${block.id}?action=restore`,
      body: { target: { type: 'file', node_id: node, path } },
      about: { block: block.id, path, node },
    });
    return true;
  },
};
