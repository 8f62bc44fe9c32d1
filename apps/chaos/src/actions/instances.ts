/** Jobs on instances. While one is on its way the client writes nothing: what a save holds is then known. */
import { instanceContent } from '../model/model.ts';
import type { Action } from './action.ts';
import { someBlock, someInstance } from './targets.ts';

const MOST_INSTANCES = 6;

export const loadInstance: Action = {
  kind: 'load',
  weight: 5,
  async run(hands, draw) {
    const block = someBlock(hands, draw);
    const node = draw.pick(hands.nodes);
    const there = [...hands.model.instances.values()].filter(({ leaving }) => !leaving);
    if (block === undefined || there.length >= MOST_INSTANCES) return false;
    await hands.ask({
      kind: 'load',
      method: 'PUT',
      path: '/cdm_instances',
      body: { block_id: block.id, node_id: node, name: hands.name },
      about: { block: block.id, node },
    });
    return true;
  },
};

function onInstance(kind: 'save' | 'rewind' | 'hydrate', weight: number): Action {
  return {
    kind,
    weight,
    async run(hands, draw) {
      const instance = someInstance(hands, draw);
      const anyPool = draw.pick(hands.pools);
      if (instance === undefined || hands.model.busy(instance.id)) return false;
      // Near is a directory of its own node.
      const near = hands.pools.find(({ type, node }) => type !== 'remote' && node === instance.node);
      const pool = kind === 'hydrate' ? (near ?? anyPool) : anyPool;
      const body = { save: { pool_id: pool.id, name: hands.name }, hydrate: { pool_id: pool.id }, rewind: undefined }[kind];
      const content = kind === 'save' ? { content: instanceContent(instance) } : {};
      await hands.ask({
        kind,
        method: 'POST',
        path: `/cdm_instances/${instance.id}?action=${kind}`,
        body,
        about: { instance: instance.id, ...content },
      });
      return true;
    },
  };
}

export const saveInstance = onInstance('save', 4);
export const rewindInstance = onInstance('rewind', 2);
export const hydrateInstance = onInstance('hydrate', 2);

export const unloadInstance: Action = {
  kind: 'unload',
  weight: 3,
  async run(hands, draw) {
    const instance = someInstance(hands, draw);
    const pool = draw.pick(hands.pools);
    const save = draw.chance(0.5);
    if (instance === undefined || hands.model.busy(instance.id)) return false;
    await hands.ask({
      kind: 'unload',
      method: 'DELETE',
      path: `/cdm_instances/${instance.id}${save ? `?save=true&pool_id=${pool.id}` : ''}`,
      about: { instance: instance.id, ...(save ? { content: instanceContent(instance) } : {}) },
    });
    return true;
  },
};
