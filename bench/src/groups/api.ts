/**
 * The API with 1 M blocks and 1 M jobs in the database beside the same with 1 k of each: lists, gets and submissions, one request after the
 * other. It leaves its rows behind, so it goes after all groups that need a small database.
 */
import { EmptyWork } from '../control/empty.ts';
import { percentile } from '../control/percentile.ts';
import { QUESTIONS } from '../control/questions.ts';
import type { Lab } from '../lab.ts';
import { type Row, ratioRow } from '../row.ts';

const SMALL = 1000;
const LARGE = 1_000_000;
const REQUESTS = 200;
const WARM = 5;
const MOST = 2;
/** A question that has taken this long in all is not asked any more, ms: what is too slow shows in fewer answers, too. */
const ENOUGH_MS = 5000;
/** Told even if it was only to warm up, ms. */
const TOO_SLOW_MS = 500;
const SUBMISSION = 'submission';

/** ms of each request, by what was asked. */
type Times = Map<string, number[]>;

export async function apiOfManyRows(lab: Lab): Promise<Row[]> {
  const work = new EmptyWork(lab);
  try {
    await work.start();
    await work.rows.growTo(SMALL, lab.signal);
    const small = await ask(lab, work, SMALL);
    const since = performance.now();
    await work.rows.growTo(LARGE, lab.signal);
    lab.say(`  ${LARGE} blocks and jobs, made in ${((performance.now() - since) / 1000).toFixed(0)} s`);
    const large = await ask(lab, work, LARGE);
    return [...large.keys()].map((name) => rowOf(lab, name, large.get(name) ?? [], small.get(name) ?? []));
  } finally {
    await work.stop();
  }
}

async function ask(lab: Lab, work: EmptyWork, count: number): Promise<Times> {
  const times: Times = new Map([SUBMISSION, ...QUESTIONS.map(({ name }) => name)].map((name) => [name, []]));
  const spent = new Map<string, number>();
  for (let i = -WARM; i < REQUESTS; i++) {
    const timed = async (name: string, request: () => Promise<unknown>): Promise<void> => {
      lab.signal.throwIfAborted();
      if ((spent.get(name) ?? 0) > ENOUGH_MS) return;
      const since = performance.now();
      await request();
      const ms = performance.now() - since;
      spent.set(name, (spent.get(name) ?? 0) + ms);
      if (i >= 0 || ms > TOO_SLOW_MS) times.get(name)?.push(ms);
    };
    await timed(SUBMISSION, () => work.submit(Math.floor((SMALL / 2) * Math.random())));
    // In turn: what disturbs the machine for a while disturbs all of them.
    for (const { name, path } of QUESTIONS) await timed(name, () => lab.api.request('GET', path(count)));
  }
  return times;
}

function rowOf(lab: Lab, name: string, large: readonly number[], small: readonly number[]): Row {
  const [p99, p99Small] = [percentile(large, 0.99), percentile(small, 0.99)];
  const medians = `${large.length} requests, median ${percentile(large, 0.5).toFixed(1)}, of few rows ${percentile(small, 0.5).toFixed(1)} ms`;
  lab.say(`  ${name}: p99 ${p99.toFixed(1)}, of few rows ${p99Small.toFixed(1)}; ${medians}`);
  return ratioRow({ name: `api, 1 M: ${name}`, unit: 'ms, p99', note: `${medians}; peer: 1 k` }, [p99], [p99Small], MOST);
}
