import { CENTERS, NODES } from '../stack/world.ts';
import type { FaultKind } from './fault.ts';

/** The wall clock of one of our processes, forwards or back; the servers keep the machine's. */
export const stepClock: FaultKind = {
  kind: 'clock-stepped',
  weight: 4,
  targets: [...CENTERS, ...NODES].map((name) => `clock:${name}`),
  draw: (draw) => ({ forMs: draw.int(3_000, 30_000), detail: { ms: (draw.chance(0.5) ? 1 : -1) * draw.int(500, 240_000) } }),
  async begin(world, { target, detail }) {
    world.program(target.slice('clock:'.length)).stepClock(Number(detail.ms));
    return true;
  },
  async end(world, { target }) {
    world.program(target.slice('clock:'.length)).stepClock(0);
  },
};
