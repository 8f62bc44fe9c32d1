import type { Check } from './check.ts';

export const agreement: Check = {
  name: 'agreement',
  promise: 'The center’s rows and the pools say the same of every block, and the center lists no anomaly.',
  find({ rows, pools, anomalies }) {
    const blocks = new Map(rows.blocks.map((block) => [block.id, block]));
    const found = pools.flatMap(({ pool, blocks: stored, damaged }) => {
      const here = rows.replicas.filter(({ pool_id }) => pool_id === pool.id);
      const missing = here.flatMap(({ block_id, state }) => {
        if (state !== 'available' && state !== 'trashed') return [];
        const is = stored.get(block_id);
        const row = blocks.get(block_id);
        const where = `Block ${block_id} is ${state} in ${pool.name} by the center`;
        if (is === undefined) return [{ block: block_id, what: `${where}, and the pool does not have it.` }];
        if (is.trashed !== (state === 'trashed'))
          return [{ block: block_id, what: `${where}, and in the pool it is ${is.trashed ? 'in the trash' : 'committed'}.` }];
        if (row !== undefined && (row.size !== is.size || row.root_digest !== is.rootDigest)) {
          return [
            {
              block: block_id,
              what: `${where} with ${row.size} bytes and root digest ${row.root_digest}; the pool has ${is.size} bytes and ${is.rootDigest}.`,
            },
          ];
        }
        return [];
      });
      const known = new Set(here.map(({ block_id }) => block_id));
      const unknown = [...stored.keys()]
        .filter((id) => !known.has(id))
        .map((id) => ({ block: id, what: `${pool.name} holds block ${id}, and the center knows of no replica there.` }));
      const halfway = here
        .filter(({ state }) => state === 'creating' || state === 'deleting')
        .filter(({ block_id }) => !waits(blocks.get(block_id)))
        .map(({ block_id, state, job_id }) => ({
          block: block_id,
          job: job_id ?? undefined,
          what: `The replica of block ${block_id} in ${pool.name} is ${state}, and no job works on it.`,
        }));
      const broken = damaged.map(({ block, why }) => ({ block, what: `Block ${block} in ${pool.name} cannot be read: ${why}` }));
      return [...missing, ...unknown, ...halfway, ...broken];
    });
    const states = rows.blocks
      .filter((block) => block.state === 'creating' && !waits(block))
      .map(({ id, state }) => ({ block: id, what: `Block ${id} is ${state}, and no job works on it.` }));
    return [...found, ...states, ...anomalies.map((what) => ({ what: `The center lists an anomaly: ${what}` }))];
  },
};

/** For content that its client never sent. */
const waits = (block: { state: string; content_node_id: string | null } | undefined): boolean =>
  block?.state === 'creating' && block.content_node_id !== null;
