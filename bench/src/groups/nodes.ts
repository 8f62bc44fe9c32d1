/**
 * A thousand nodes with ten jobs each on one center for two minutes: their heartbeats and syncs. What their jobs would do is measured elsewhere.
 */
import { BenchChild } from '../control/child.ts';
import { cpuWords, usedCpu } from '../control/cpu.ts';
import { type CrowdState, crowdState, deleteCrowd, insertCrowd } from '../control/crowd-rows.ts';
import { EmptyWork } from '../control/empty.ts';
import { percentile } from '../control/percentile.ts';
import type { Beats } from '../control/presence.ts';
import type { Lab } from '../lab.ts';
import { limitRow, mostRow, type Row } from '../row.ts';

const NODES = 1000;
const EACH = 10;
const PROCESSES = 2;
const LAST_MS = 120_000;
const LOOK_MS = 500;
/** As long as a node may be silent before it is suspect. */
const SUSPECT_S = 30;

export async function manyNodes(lab: Lab): Promise<Row[]> {
  const work = new EmptyWork(lab);
  const { database } = work.rows;
  const crowds: BenchChild[] = [];
  try {
    await insertCrowd(database, NODES, EACH);
    const since = performance.now();
    await Promise.all(Array.from({ length: PROCESSES }, async (_, i) => void crowds.push(await startCrowd(lab, i))));
    lab.say(`  ${NODES} nodes joined in ${((performance.now() - since) / 1000).toFixed(1)} s`);
    await Promise.all(crowds.map((crowd) => crowd.ask(null)));
    const pids = Object.fromEntries(crowds.map((crowd, i) => [`crowd-${i}`, crowd.pid]));
    const before = usedCpu(lab, pids);
    const seen = await watch(lab, work);
    const after = usedCpu(lab, pids);
    const beats = await Promise.all(crowds.map((crowd) => crowd.ask<Beats>(null)));
    return rowsOf(lab, seen, beats, { center: (after.center ?? 0) - (before.center ?? 0), all: cpuWords(before, after) });
  } finally {
    await Promise.all(crowds.map((crowd) => crowd.stop()));
    await deleteCrowd(database);
    await work.stop();
  }
}

function startCrowd(lab: Lab, i: number): Promise<BenchChild> {
  const share = NODES / PROCESSES;
  const [from, to] = [i * share, (i + 1) * share];
  const env = { BENCH_FROM: String(from), BENCH_TO: String(to), BENCH_HELD: String(EACH) };
  return BenchChild.start(lab, './crowd.ts', `bench-crowd-${i}`, env);
}

/** The worst of what was seen, look by look. */
async function watch(lab: Lab, work: EmptyWork): Promise<CrowdState> {
  const worst: CrowdState = { nodes: NODES, away: 0, silentS: 0, running: NODES * EACH };
  const end = performance.now() + LAST_MS;
  while (performance.now() < end) {
    lab.signal.throwIfAborted();
    const now = await crowdState(work.rows.database);
    worst.nodes = Math.min(worst.nodes, now.nodes);
    worst.away = Math.max(worst.away, now.away);
    worst.silentS = Math.max(worst.silentS, now.silentS);
    worst.running = Math.min(worst.running, now.running);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return worst;
}

function rowsOf(lab: Lab, seen: CrowdState, beats: readonly Beats[], cpu: { center: number; all: string }): Row[] {
  const heartbeats = beats.flatMap((one) => one.heartbeats);
  const syncs = beats.flatMap((one) => one.syncs);
  const sum = (field: 'refused' | 'failed'): number => beats.reduce((all, one) => all + one[field], 0);
  const p = (share: number): string => percentile(heartbeats, share).toFixed(1);
  const said = `${heartbeats.length} heartbeats, ${syncs.length} syncs, ${sum('failed')} not answered; median ${p(0.5)}, p99 ${p(0.99)} ms, syncs p99 ${percentile(syncs, 0.99).toFixed(1)} ms`;
  lab.say(`  ${said}`);
  lab.say(`  seconds of CPU in ${LAST_MS / 1000} s: ${cpu.all}`);
  const lost = NODES - seen.nodes + (NODES * EACH - seen.running) + sum('refused');
  return [
    mostRow({ name: 'nodes, 1,000: suspect or offline at any time', unit: 'nodes', note: said }, seen.away, 0),
    mostRow({ name: 'nodes, 1,000: nodes or jobs lost or refused', unit: 'of 11,000' }, lost, 0),
    limitRow({ name: 'nodes, 1,000: longest silence', unit: 's' }, seen.silentS, SUSPECT_S),
    limitRow({ name: 'nodes, 1,000: p99 of a heartbeat', unit: 'ms' }, percentile(heartbeats, 0.99), 1000),
    limitRow({ name: 'nodes, 1,000: CPU of the center', unit: 's', note: `in ${LAST_MS / 1000} s` }, cpu.center, LAST_MS / 1000),
  ];
}
