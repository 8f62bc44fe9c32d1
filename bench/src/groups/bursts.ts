/**
 * Relay and ingest under bursts: jobs come all at once, five seconds' worth of 500 a second, and their node answers each with all its events as
 * fast as they can be sent. They keep up when a burst is gone before the next one comes. The API is left out; `dispatch` has it.
 */
import { acceptJobs } from '../control/bursts.ts';
import { BenchChild } from '../control/child.ts';
import { cpuWords, usedCpu } from '../control/cpu.ts';
import { EmptyWork } from '../control/empty.ts';
import { beforeNow } from '../control/rows.ts';
import type { Lab } from '../lab.ts';
import { leastRow, limitRow, type Row } from '../row.ts';

const NODE = 'bench-echo';
const A_SECOND = 500;
const APART_S = 5;
const BURSTS = 6;
const A_BURST = A_SECOND * APART_S;
const GONE_LIMIT_MS = 60_000;

export async function burstsOfJobs(lab: Lab): Promise<Row[]> {
  const work = new EmptyWork(lab);
  let node: BenchChild | null = null;
  try {
    await work.start(false);
    await work.rows.growTo(2 * A_BURST, lab.signal);
    node = await BenchChild.start(lab, './echo-node.ts', NODE, { BENCH_NODE: NODE });
    // For nothing: code is compiled, connections are made.
    await burst(work, A_BURST / 10);
    const [seconds, lags]: [number[], number[]] = [[], []];
    for (let i = 0; i < BURSTS; i++) {
      const since = performance.now();
      const before = usedCpu(lab, { [NODE]: node.pid });
      const { goneS, lagS } = await burst(work, A_BURST);
      const { untold, problem } = await node.ask<{ untold: number; problem: string }>(null);
      if (problem !== '') lab.say(`  the node had to send again: ${problem}; ${untold} jobs' events are not had yet`);
      seconds.push(goneS);
      lags.push(lagS);
      const cpu = cpuWords(before, usedCpu(lab, { [NODE]: node.pid }));
      lab.say(
        `  burst ${i + 1}: ${A_BURST} jobs gone in ${goneS.toFixed(2)} s, largest lag ${lagS.toFixed(2)} s; seconds of CPU: ${cpu}`,
      );
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, APART_S * 1000 - (performance.now() - since))));
    }
    const slowest = Math.max(...seconds);
    const note = `the slowest of ${BURSTS} bursts of ${A_BURST} jobs, ${3 * A_BURST} events each, while it lasted`;
    return [
      leastRow({ name: 'bursts, sustained', unit: 'jobs/s', note }, A_BURST / slowest, A_SECOND),
      limitRow(
        { name: 'bursts, largest lag', unit: 's', note: 'from a burst in the outbox to its last job ended' },
        Math.max(...lags),
        APART_S,
      ),
    ];
  } finally {
    await node?.stop();
    await work.stop();
  }
}

/** Seconds until all are gone, as seen from here; and the longest that one job took, by the database's clock. */
async function burst(work: EmptyWork, count: number): Promise<{ goneS: number; lagS: number }> {
  const before = beforeNow();
  await acceptJobs(work.rows.database, NODE, count);
  const since = performance.now();
  await work.succeeded(count, before, GONE_LIMIT_MS, NODE);
  return { goneS: (performance.now() - since) / 1000, lagS: await work.rows.longest(NODE, before) };
}
