/** Our own processes: killed, frozen. */
import { CENTERS, NODES } from '../stack/world.ts';
import { drawLength, type FaultKind } from './fault.ts';

const PROGRAMS = [...CENTERS, ...NODES];

export const killProgram: FaultKind = {
  kind: 'kill',
  weight: 12,
  targets: PROGRAMS,
  draw: (draw) => ({ forMs: draw.chance(0.6) ? draw.int(0, 1_500) : drawLength(draw) }),
  async begin(world, { target }) {
    await world.program(target).kill();
    return true;
  },
  end: (world, { target }) => world.program(target).start(),
};

export const freezeProgram: FaultKind = {
  kind: 'freeze',
  weight: 8,
  targets: PROGRAMS,
  draw: (draw) => ({ forMs: drawLength(draw) }),
  async begin(world, { target }) {
    world.program(target).freeze();
    return true;
  },
  async end(world, { target }) {
    world.program(target).thaw();
  },
};
