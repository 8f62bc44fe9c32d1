/** One node at a time is drained, and any client brings it back. */
import type { Action, Hands } from './action.ts';

async function nodesIn(hands: Hands, states: readonly string[]): Promise<string[]> {
  const answer = await hands.asker.look('/nodes');
  const nodes = (answer?.body.nodes ?? []) as { id: string; state: string }[];
  return nodes.filter(({ state }) => states.includes(state)).map(({ id }) => id);
}

const AWAY = ['draining', 'drained'];

export const drain: Action = {
  kind: 'drain',
  weight: 2,
  async run(hands, draw) {
    const node = draw.pick(hands.nodes);
    if ((await nodesIn(hands, AWAY)).length > 0) return false;
    await hands.ask({ kind: 'drain', method: 'POST', path: `/nodes/${node}?action=drain`, about: { node } });
    return true;
  },
};

export const activate: Action = {
  kind: 'activate',
  weight: 8,
  async run(hands) {
    const [node] = await nodesIn(hands, AWAY);
    if (node === undefined) return false;
    await hands.ask({ kind: 'activate', method: 'POST', path: `/nodes/${node}?action=activate`, about: { node } });
    return true;
  },
};
