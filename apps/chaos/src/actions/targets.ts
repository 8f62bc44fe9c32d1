/** What there is to work on, as a client knows it. */
import type { KnownBlock, KnownInstance, KnownJob } from '../model/model.ts';
import type { Random } from '../random.ts';
import type { Hands } from './action.ts';

/** A block, perhaps one that is not ready or not there any more: such requests must be refused, or work. Later ones oftener. */
export function someBlock(hands: Hands, draw: Random): KnownBlock | undefined {
  const all = [...hands.model.blocks.values()];
  const recent = all.slice(-12);
  return draw.maybe(draw.chance(0.7) ? recent : all);
}

export function someInstance(hands: Hands, draw: Random): KnownInstance | undefined {
  return draw.maybe([...hands.model.instances.values()].filter(({ leaving }) => !leaving));
}

export const someJob = (hands: Hands, draw: Random, fits: (job: KnownJob) => boolean): KnownJob | undefined =>
  draw.maybe([...hands.model.jobs.values()].filter(fits));
