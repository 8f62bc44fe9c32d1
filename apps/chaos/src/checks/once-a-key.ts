import type { Check } from './check.ts';

/** Clients name each new block by the key of its request. */
export const onceAKey: Check = {
  name: 'once-a-key',
  promise: 'A request asked twice with one Idempotency-Key is done once.',
  find({ rows, models }) {
    const named = new Map<string, string[]>();
    for (const { id, name } of rows.blocks) named.set(name, [...(named.get(name) ?? []), id]);
    return models.flatMap((model) =>
      [...model.asked.values()]
        .filter(({ kind }) => ['import', 'content', 'copy'].includes(kind))
        .flatMap(({ key }) => {
          const ids = named.get(key) ?? [];
          if (ids.length <= 1) return [];
          return [{ block: ids[0], what: `The request ${key} made ${ids.length} blocks: ${ids.join(', ')}.` }];
        }),
    );
  },
};
