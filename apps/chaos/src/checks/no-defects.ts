import type { Check } from './check.ts';

export const noDefects: Check = {
  name: 'no-defects',
  promise: 'A center that cannot do what it is asked says why; it never answers that something went wrong in it.',
  find: ({ models }) =>
    models.flatMap((model) =>
      model.defects.map(({ key, why }) => {
        const asked = model.asked.get(key);
        return {
          block: asked?.about.block,
          what: `${asked?.method} ${asked?.path} (key ${key}) was answered ${why}; the center's log has the cause.`,
        };
      }),
    ),
};
