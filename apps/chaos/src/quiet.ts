/** Waits until no job runs any more. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from './client/client.ts';
import { unfinishedJobs } from './evidence/rows.ts';
import type { World } from './stack/world.ts';

/** Longer than any one deadline of a job's state, a dead node's time, or backoff. */
export const QUIET_MS = 300_000;
const CALM_LOOKS = 2;

export interface Quiet {
  /** What still runs when the time is over: what the checks will name. */
  left: string[];
  tookMs: number;
  /** The job that ended last; null where none ran. */
  slowest: string | null;
}

/** Resolves with what still runs when the time is over: nothing, or what the checks will name. */
export async function whenQuiet(
  world: World,
  clients: readonly Client[],
  signal: AbortSignal,
  onLook: (running: number) => void,
): Promise<Quiet> {
  const since = performance.now();
  let calm = 0;
  let slowest: string | null = null;
  for (;;) {
    signal.throwIfAborted();
    const running = await unfinishedJobs(world.servers.mysql.address.url).catch(() => null);
    onLook(running?.length ?? -1);
    slowest = running?.[0]?.id ?? slowest;
    calm = running?.length === 0 ? calm + 1 : 0;
    const tookMs = performance.now() - since;
    if (calm >= CALM_LOOKS) return { left: [], tookMs, slowest };
    const left = (running ?? []).map((job) => `${job.id} (${job.kind}, ${job.state}, ${job.node_id})`);
    if (tookMs > QUIET_MS) return { left, tookMs, slowest };
    for (const client of clients) await client.resumePaused();
    await pause(500);
  }
}
