import { agreement } from './agreement.ts';
import type { Check, Evidence, Violation } from './check.ts';
import { claimsHeld } from './claims-held.ts';
import { contentEqual } from './content-equal.ts';
import { deadLetters } from './dead-letters.ts';
import { eventsTold } from './events-told.ts';
import { instancesKept } from './instances-kept.ts';
import { jobsEnd } from './jobs-end.ts';
import { journalsEmpty } from './journals-empty.ts';
import { leftoversInPools } from './leftovers-in-pools.ts';
import { leftoversOnNodes } from './leftovers-on-nodes.ts';
import { movesKeepSource } from './moves-keep-source.ts';
import { noDefects } from './no-defects.ts';
import { nothingLost } from './nothing-lost.ts';
import { onceAKey } from './once-a-key.ts';
import { oneCommit } from './one-commit.ts';
import { ownEnds } from './own-ends.ts';

export const CHECKS: readonly Check[] = [
  jobsEnd,
  onceAKey,
  contentEqual,
  nothingLost,
  movesKeepSource,
  oneCommit,
  claimsHeld,
  leftoversInPools,
  leftoversOnNodes,
  journalsEmpty,
  agreement,
  instancesKept,
  eventsTold,
  deadLetters,
  noDefects,
  ownEnds,
];

export function violations(evidence: Evidence, checks: readonly Check[] = CHECKS): Violation[] {
  return checks.flatMap((check) => check.find(evidence).map((found) => ({ check: check.name, ...found })));
}
