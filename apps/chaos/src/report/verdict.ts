/** What a run ends with: its figures, and what broke with all that is known of it. */
import { CHECKS } from '../checks/all.ts';
import type { Evidence, Violation } from '../checks/check.ts';
import type { FaultTimes } from '../faults/run-faults.ts';
import type { Quiet } from '../quiet.ts';
import { historyOf } from './job-history.ts';

/** A job that takes longer after healing is worth a look, though nothing is broken. */
const SLOW_QUIET_MS = 25_000;
const MOST_SHOWN = 40;

export interface Outcome {
  evidence: Evidence;
  broken: readonly Violation[];
  quiet: Quiet;
  faults: readonly FaultTimes[];
  /** Unix ms. */
  loadBegan: number;
}

/** The exit code. `name`: the run, as its last line calls it. */
export function sayVerdict(
  { evidence, broken, quiet, faults, loadBegan }: Outcome,
  name: string,
  say: (line: string) => void,
): number {
  if (quiet.slowest !== null && quiet.tookMs > SLOW_QUIET_MS) {
    say(`The last to end, ${(quiet.tookMs / 1000).toFixed(1)} s after all was healed:`);
    say(historyOf({ check: '', what: '', job: quiet.slowest }, evidence, faults, loadBegan));
  }
  for (const violation of broken.slice(0, MOST_SHOWN)) {
    say(`BROKEN ${violation.check}: ${violation.what}`);
    say(historyOf(violation, evidence, faults, loadBegan));
  }
  if (broken.length === 0) say(`All ${CHECKS.length} invariants hold. ${name}`);
  else say(`${broken.length} breaches of ${new Set(broken.map(({ check }) => check)).size} invariants. ${name}`);
  return broken.length === 0 ? 0 : 1;
}
