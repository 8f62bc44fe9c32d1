import type { Check } from './check.ts';

export const instancesKept: Check = {
  name: 'instances-kept',
  promise: 'An instance that nobody unloaded is served, and holds all that was flushed to it.',
  find({ rows, models, live }) {
    const there = new Map(rows.instances.map((instance) => [instance.id, instance]));
    const loads = new Set(
      rows.jobs
        .filter(({ kind, state }) => kind === 'load' && state === 'succeeded')
        .map(({ params }) => String(params.instance_id)),
    );
    const kept = models.flatMap((model) =>
      [...model.instances.values()].flatMap(({ id, block, leaving }) => {
        const row = there.get(id);
        if (row === undefined)
          return leaving || !loads.has(id) ? [] : [{ block, what: `Instance ${id} was loaded and never unloaded, and is gone.` }];
        if (row.state !== 'loaded')
          return [{ block, what: `Instance ${id} is ${row.state}: ${row.error_message ?? 'no reason is said'}.` }];
        const told = live.get(id);
        if (told === null) return [];
        return [
          {
            block,
            what:
              told === undefined
                ? `Nobody read instance ${id}.`
                : `Instance ${id} does not hold what was written to it: ${told}.`,
          },
        ];
      }),
    );
    return kept;
  },
};
