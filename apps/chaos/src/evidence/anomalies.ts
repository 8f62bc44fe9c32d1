/** What the center itself finds wrong, after it has compared every pool with its rows. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ApiClient } from '@openservice/testkit';
import { pendingComparisons } from './rows.ts';

const COMPARE_MS = 60_000;
/** A sync that is under way takes away what has healed. */
const HEAL_MS = 15_000;

interface Anomaly {
  kind: string;
  resource: string;
  detail: string;
}

/** Sentences. */
export async function anomaliesOf(api: ApiClient, mysqlUrl: string): Promise<string[]> {
  await api.ok('POST', '/anomalies?action=compare', {});
  const end = performance.now() + COMPARE_MS;
  let pending = await pendingComparisons(mysqlUrl);
  while (pending.length > 0 && performance.now() < end) {
    await pause(250);
    pending = await pendingComparisons(mysqlUrl);
  }
  const undone = pending.map((pool) => `pool ${pool} could not be compared within ${COMPARE_MS / 1000} s`);
  let listed = await list(api);
  for (const limit = performance.now() + HEAL_MS; listed.length > 0 && performance.now() < limit; listed = await list(api))
    await pause(500);
  return [...undone, ...listed.map(({ kind, resource, detail }) => `${kind} ${resource}: ${detail}`)];
}

async function list(api: ApiClient): Promise<Anomaly[]> {
  return (await api.ok('GET', '/anomalies?limit=1000')).body.anomalies as Anomaly[];
}
