/** Into the trash, past it, and back. */
import type { Action } from './action.ts';
import { someBlock } from './targets.ts';

function fate(kind: 'delete' | 'purge' | 'undelete', weight: number): Action {
  return {
    kind,
    weight,
    async run(hands, draw) {
      const block = someBlock(hands, draw);
      if (block === undefined) return false;
      const query = { delete: '', purge: '?purge=true', undelete: '?action=undelete' }[kind];
      const method = kind === 'undelete' ? 'POST' : 'DELETE';
      await hands.ask({ kind, method, path: `/blocks/${block.id}${query}`, about: { block: block.id } });
      return true;
    },
  };
}

export const deleteBlock = fate('delete', 3);
export const purgeBlock = fate('purge', 2);
export const undeleteBlock = fate('undelete', 3);
