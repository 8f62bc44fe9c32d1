import type { Check } from './check.ts';

export const movesKeepSource: Check = {
  name: 'moves-keep-source',
  promise: 'A move gives up its source only after the target was committed and read back.',
  find({ rows, contents }) {
    const alive = new Set(rows.blocks.filter(({ state }) => state === 'available').map(({ id }) => id));
    return rows.jobs
      .filter(({ kind, block_id }) => kind === 'move' && block_id !== null && alive.has(block_id))
      .flatMap((job) => {
        const block = job.block_id ?? '';
        const [from, to] = [String(job.params.from_pool_id), String(job.params.pool_id)];
        const replicas = rows.replicas.filter(({ block_id, state }) => block_id === block && state === 'available');
        const good = replicas.filter(({ pool_id }) => contents.get(`${block} ${pool_id}`) === null);
        if (good.length === 0) {
          return [
            { job: job.id, block, what: `Block ${block} was moved from ${from} to ${to} and has no good replica any more.` },
          ];
        }
        const target = replicas.find(({ pool_id }) => pool_id === to);
        if (job.state !== 'succeeded' || target === undefined || target.job_id !== job.id || target.verified_at !== null)
          return [];
        return [
          {
            job: job.id,
            block,
            what: `The move ${job.id} of block ${block} succeeded, and its target in ${to} was never read back.`,
          },
        ];
      });
  },
};
