import type { Check } from './check.ts';

export const contentEqual: Check = {
  name: 'content-equal',
  promise: 'Every available replica, and every file that a restore wrote, is byte for byte what the client wrote.',
  find({ rows, contents, restored }) {
    const replicas = rows.replicas.filter(({ state }) => state === 'available');
    const states = new Map(rows.blocks.map(({ id, state }) => [id, state]));
    const wrong = replicas.flatMap(({ block_id, pool_id }) => {
      const told = contents.get(`${block_id} ${pool_id}`);
      if (states.get(block_id) !== 'available' || told === null) return [];
      if (told === undefined)
        return [{ block: block_id, what: `Nobody read the replica of block ${block_id} in pool ${pool_id}.` }];
      return [{ block: block_id, what: `Block ${block_id} in pool ${pool_id} is not what was written: ${told}.` }];
    });
    const damaged = rows.replicas
      .filter(({ state }) => state === 'damaged')
      .map(({ block_id, pool_id }) => ({
        block: block_id,
        what: `The replica of block ${block_id} in pool ${pool_id} is damaged; no fault of this run damages data.`,
      }));
    const files = [...restored].flatMap(([job, told]) =>
      told === null ? [] : [{ job, what: `The file that job ${job} restored is not what was written: ${told}.` }],
    );
    return [...wrong, ...damaged, ...files];
  },
};
