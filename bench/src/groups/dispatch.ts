/**
 * What a job costs by itself. One at a time, from the answer 202 to the job running on a node; and 2,000 at once, empty ones, from the first
 * request to the last one's end in the database, beside bare BullMQ on the same Redis. All clocks are this machine's.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BenchChild } from '../control/child.ts';
import { cpuSum, cpuWords, usedCpu } from '../control/cpu.ts';
import { CONCURRENCY, EmptyWork } from '../control/empty.ts';
import { inFlight } from '../control/in-flight.ts';
import { beforeNow } from '../control/rows.ts';
import { type Lab, NODE_ID } from '../lab.ts';
import { leastRatioRow, limitRow, median, type Row } from '../row.ts';

const JOBS = 50;
const LIMIT_MS = 50;
const BARE = 'bench-bare';
const MANY = 2000;
const CLIENTS = 64;
const LEAST_SHARE = 0.15;
const MANY_LIMIT_MS = 90_000;

export async function dispatch(lab: Lab, repetitions: number): Promise<Row[]> {
  return [await latency(lab), await throughput(lab, repetitions)];
}

async function latency(lab: Lab): Promise<Row> {
  const path = join(lab.imports, 'tiny.img');
  await writeFile(path, randomBytes(64 * 1024));
  const pool = await lab.localPool();
  const waits: number[] = [];
  const starts: number[] = [];
  for (let i = 0; i < JOBS; i++) {
    const { blockId, jobId } = await lab.api.importFile({ name: `tiny-${i}`, pool_id: pool.id, node_id: NODE_ID, path });
    const answeredAt = Date.now();
    const job = await lab.follow(jobId);
    const startedAt = Date.parse(job.started_at ?? '');
    // The node may well be at work before the answer has been read here: that is no wait.
    waits.push(Math.max(0, startedAt - answeredAt));
    starts.push(startedAt - Date.parse(job.created_at));
    await lab.delete(blockId);
  }
  const note = `${JOBS} jobs, one after the other; from the row's creation to running: ${median(starts).toFixed(0)} ms median, ${Math.max(...starts)} ms at most`;
  lab.say(`  ${note}`);
  return limitRow({ name: 'dispatch, median', unit: 'ms', note }, median(waits), LIMIT_MS);
}

async function throughput(lab: Lab, repetitions: number): Promise<Row> {
  const work = new EmptyWork(lab);
  let bare: BenchChild | null = null;
  const [ours, peer, cpu, bareCpu]: [number[], number[], number[], number[]] = [[], [], [], []];
  try {
    await work.start();
    await work.rows.growTo(2 * MANY, lab.signal);
    bare = await BenchChild.start(lab, './bare-queue.ts', BARE, { BENCH_CONCURRENCY: String(CONCURRENCY) });
    // Once for nothing: neither side pays for code that is compiled, or connections that are made, at its first job.
    await ourMany(work, MANY / 10);
    await bare.ask({ jobs: MANY / 10, clients: CLIENTS });
    const pids = { ...work.pids, [BARE]: bare.pid };
    for (let i = 0; i < repetitions; i++) {
      const start = usedCpu(lab, pids);
      const bareMs = await bare.ask<number>({ jobs: MANY, clients: CLIENTS });
      const between = usedCpu(lab, pids);
      const { ms, acceptedMs } = await ourMany(work, MANY);
      const end = usedCpu(lab, pids);
      peer.push((MANY * 1000) / bareMs);
      ours.push((MANY * 1000) / ms);
      const accepted = ((MANY * 1000) / acceptedMs).toFixed(0);
      lab.say(`  ${ours.at(-1)!.toFixed(0)} jobs/s (accepted ${accepted}/s), bare BullMQ ${peer.at(-1)!.toFixed(0)} jobs/s`);
      lab.say(`  seconds of CPU: ${cpuWords(between, end)}; bare BullMQ: ${cpuWords(start, between)}`);
      cpu.push((cpuSum(between, end) * 1000) / MANY);
      bareCpu.push((cpuSum(start, between) * 1000) / MANY);
    }
  } finally {
    await bare?.stop();
    await work.stop();
  }
  const note = `${MANY} empty jobs, ${CLIENTS} clients; peer: bare BullMQ, add and process; ms of CPU a job, of all processes: ${median(cpu).toFixed(1)} and ${median(bareCpu).toFixed(1)}`;
  return leastRatioRow({ name: 'dispatch, many at once', unit: 'jobs/s', note }, ours, peer, LEAST_SHARE);
}

/** ms from the first request to the last job's end, and to the last 202. */
async function ourMany(work: EmptyWork, count: number): Promise<{ ms: number; acceptedMs: number }> {
  const before = beforeNow();
  const since = performance.now();
  await inFlight(count, CLIENTS, async (i) => void (await work.submit(i)));
  const acceptedMs = performance.now() - since;
  await work.succeeded(count, before, MANY_LIMIT_MS);
  return { ms: performance.now() - since, acceptedMs };
}
