/** Waits until no job runs any more. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from './client/client.ts';
import { unfinishedJobs } from './evidence/rows.ts';
import type { World } from './stack/world.ts';

/** Longer than any one deadline of a job's state, a dead node's time, or backoff. */
export const QUIET_MS = 300_000;
const CALM_LOOKS = 2;

/** Resolves with what still runs when the time is over: nothing, or what the checks will name. */
export async function whenQuiet(
  world: World,
  clients: readonly Client[],
  signal: AbortSignal,
  onLook: (running: number) => void,
): Promise<{ left: string[]; tookMs: number }> {
  const since = performance.now();
  let calm = 0;
  for (;;) {
    signal.throwIfAborted();
    const running = await unfinishedJobs(world.servers.mysql.address.url).catch(() => null);
    onLook(running?.length ?? -1);
    calm = running?.length === 0 ? calm + 1 : 0;
    const tookMs = performance.now() - since;
    if (calm >= CALM_LOOKS) return { left: [], tookMs };
    if (tookMs > QUIET_MS)
      return { left: (running ?? []).map((job) => `${job.id} (${job.kind}, ${job.state}, ${job.node_id})`), tookMs };
    for (const client of clients) await client.resumePaused();
    await pause(500);
  }
}
