import type { FaultKind } from './fault.ts';

export const fillDisk: FaultKind = {
  kind: 'disk-full',
  weight: 5,
  targets: ['node-2-data', 'node-3-pool'],
  draw: (draw) => ({ forMs: draw.int(2_000, 20_000), detail: { room: draw.pick([0, 0, 4096, 300_000, 2_000_000]) } }),
  async begin(world, { target, detail }) {
    const disk = world.smallDisks.get(target);
    if (disk === undefined) return false;
    await disk.fill(Number(detail.room));
    return true;
  },
  async end(world, { target }) {
    world.smallDisks.get(target)?.clear();
  },
};
