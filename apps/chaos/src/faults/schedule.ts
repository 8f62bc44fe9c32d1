/** Which fault when: of the seed alone. */
import { Random } from '../random.ts';
import { FAULTS } from './all.ts';
import type { FaultKind, PlannedFault } from './fault.ts';

const FIRST_MS = 3_000;
const GAP_MS = { least: 1_000, most: 6_000 };
const MOST_AT_ONCE = 4;

/** In order of `at`; all have ended by `lengthMs`. `only`: kinds to draw from, all where it is empty. */
export function faultSchedule(seed: number, lengthMs: number, only: readonly string[] = []): PlannedFault[] {
  const kinds = FAULTS.filter(({ kind }) => only.length === 0 || only.includes(kind));
  const draw = new Random('faults', seed);
  const planned: PlannedFault[] = [];
  for (let at = FIRST_MS; at < lengthMs && kinds.length > 0; at += draw.int(GAP_MS.least, GAP_MS.most)) {
    const kind: FaultKind = draw.weighted(kinds);
    const target = draw.pick(kind.targets);
    const { forMs, detail = {} } = kind.draw(draw, target);
    const active = planned.filter((one) => one.at + one.forMs >= at);
    if (active.length >= MOST_AT_ONCE || active.some((one) => one.target === target)) continue;
    planned.push({ number: planned.length + 1, kind: kind.kind, target, at, forMs: Math.min(forMs, lengthMs - at), detail });
  }
  return planned;
}

export function kindOf(fault: PlannedFault): FaultKind {
  const kind = FAULTS.find((one) => one.kind === fault.kind && one.targets.includes(fault.target));
  if (kind === undefined) throw new Error(`There is no fault ${fault.kind} of ${fault.target}.`);
  return kind;
}
