/** What the center itself finds wrong, after it has compared every pool with its rows. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ApiClient } from '@openservice/testkit';
import { pendingComparisons } from './rows.ts';

/** A center that asked a node which was frozen then waits for its answer for two minutes: that is too long for this, and is said. */
const COMPARE_MS = 30_000;
/** A sync that is under way takes away what has healed. */
const HEAL_MS = 15_000;

interface Anomaly {
  kind: string;
  resource: string;
  detail: string;
}

/** Sentences. `say`: told of pools that no center came to compare in time; the checks compare them in any case. */
export async function anomaliesOf(api: ApiClient, mysqlUrl: string, say: (line: string) => void): Promise<string[]> {
  await api.ok('POST', '/anomalies?action=compare', {});
  const end = performance.now() + COMPARE_MS;
  let pending = await pendingComparisons(mysqlUrl);
  while (pending.length > 0 && performance.now() < end) {
    await pause(250);
    pending = await pendingComparisons(mysqlUrl);
  }
  if (pending.length > 0) say(`No center has compared these pools within ${COMPARE_MS / 1000} s: ${pending.join(', ')}.`);
  let listed = await list(api);
  for (const limit = performance.now() + HEAL_MS; listed.length > 0 && performance.now() < limit; listed = await list(api))
    await pause(500);
  return listed.map(({ kind, resource, detail }) => `${kind} ${resource}: ${detail}`);
}

async function list(api: ApiClient): Promise<Anomaly[]> {
  return (await api.ok('GET', '/anomalies?limit=1000')).body.anomalies as Anomaly[];
}
