/** One run: start, load under faults, heal, wait, look, check. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { violations } from './checks/all.ts';
import { Client } from './client/client.ts';
import { Watcher } from './client/watcher.ts';
import { gather } from './evidence/gather.ts';
import { allJobs } from './evidence/rows.ts';
import { FaultRun } from './faults/run-faults.ts';
import { faultSchedule } from './faults/schedule.ts';
import { finale } from './finale.ts';
import { HEALTHY_MS, heal, unbind, whenHealthy } from './heal.ts';
import { History } from './model/history.ts';
import type { ChaosOptions } from './options.ts';
import { whenQuiet } from './quiet.ts';
import { LiveLine, type Status, statusText } from './report/live-line.ts';
import { Recovery } from './report/recovery.ts';
import { summary } from './report/summary.ts';
import { sayVerdict } from './report/verdict.ts';
import { startWorld, type World } from './stack/world.ts';

/** Of a client in a minute; a run is bounded by this and by time. */
const STEPS_A_MINUTE = 150;

/** For who follows the events, after the last job has ended. */
const CATCH_UP_MS = 15_000;

/** The exit code: 0, or 1 where an invariant is broken. */
export async function run(options: ChaosOptions, signal: AbortSignal): Promise<number> {
  const { dir, seed, minutes } = options;
  const since = performance.now();
  const status: Status = { phase: 'starting', running: 0, active: () => [], models: [] };
  const line = new LiveLine(() => statusText(status, since));
  const say = (text: string) => line.say(text);
  say(`Seed ${seed}, ${minutes} minutes, in ${dir}.`);
  let world: World | undefined;
  let watcher: Watcher | undefined;
  let code = 1;
  try {
    world = await startWorld({ dir, since, log: say, signal });
    for (const sentence of world.leftOut) say(sentence);
    say(
      'Left out: clocks of the servers and of worker threads (libfaketime would be needed); those of centers and nodes are stepped.',
    );
    watcher = new Watcher(world.apis, world.token);
    code = await underFaults(options, world, watcher, status, say, signal, since);
    return code;
  } finally {
    line.end();
    await watcher?.stop();
    const keep = code !== 0 || options.keep;
    if (keep) for (const [name, disk] of world?.smallDisks ?? []) disk.keep(join(dir, `${name}.kept`));
    await world?.stop();
    if (keep)
      process.stdout.write(`What it left lies in ${dir}; the same again: npm run chaos -- --minutes ${minutes} --seed ${seed}\n`);
    else rmSync(dir, { recursive: true, force: true });
  }
}

async function underFaults(
  options: ChaosOptions,
  world: World,
  watcher: Watcher,
  status: Status,
  say: (line: string) => void,
  signal: AbortSignal,
  since: number,
): Promise<number> {
  const { seed, minutes, dir } = options;
  const loadMs = minutes * 60_000;
  const histories = join(dir, 'history');
  mkdirSync(histories, { recursive: true });
  const clients = Array.from({ length: options.clients }, (_, i) => {
    const history = new History(join(histories, `client-${i + 1}.jsonl`), since);
    const { apis: centers, token, playground } = world;
    return new Client({
      seed,
      number: i + 1,
      centers,
      token,
      history,
      playground,
      mostSteps: Math.ceil(minutes * STEPS_A_MINUTE),
    });
  });
  status.models = clients.map(({ model }) => model);

  await watcher.start();
  const loadBegan = Date.now();
  const faults = new FaultRun(world, performance.now(), say);
  status.active = () => faults.active;
  const recovery = new Recovery(world, () => faults.active.length);
  status.phase = 'load and faults';
  const over = AbortSignal.any([signal, AbortSignal.timeout(loadMs)]);
  const schedule = faultSchedule(seed, loadMs, options.only);
  writeFileSync(join(dir, 'faults.json'), JSON.stringify(schedule, null, 1));
  await Promise.all([faults.run(schedule, signal), ...clients.map((client) => client.run(over))]);
  signal.throwIfAborted();

  status.phase = 'healing';
  const faulty: string[] = [];
  await heal(world);
  const healedMs = await whenHealthy(world, signal);
  if (healedMs === null) faulty.push(`After ${HEALTHY_MS / 1000} s without faults a center is not ready or a node not online.`);
  recovery.stop();
  await unbind(world);
  status.phase = 'waiting for quiet';
  await Promise.all(clients.map((client) => client.settle(signal)));
  const quiet = await whenQuiet(world, clients, signal, (running) => {
    status.running = running;
  });
  await Promise.all(clients.map((client) => client.observe(Number.MAX_SAFE_INTEGER)));
  if (quiet.left.length > 0) say(`Not quiet after ${Math.round(quiet.tookMs / 1000)} s: ${quiet.left.join('; ')}`);

  status.phase = 'collecting and reading';
  // A job that is stuck holds its pools and blocks: what the finale cannot do then is told with the rest.
  const told = await finale(world, clients, seed, say).catch((error: Error) => {
    faulty.push(`After healing, a collection, a restore or a comparison did not succeed: ${error.message}`);
    return null;
  });
  await watcher.caughtUp(await allJobs(world.servers.mysql.address.url), CATCH_UP_MS);
  await watcher.stop();
  await pause(2_000); // the nodes' last events and their acknowledgements
  status.phase = 'stopping';
  for (const part of [world.nodes, world.centers]) await Promise.all(part.map((program) => program.stop()));
  status.phase = 'checking';
  const empty = { freedLast: new Map(), restored: new Map(), live: new Map(), anomalies: [] };
  const evidence = await gather(world, clients, watcher.seen, told ?? empty);
  const broken = [...faulty.map((what) => ({ check: 'works-again', what })), ...violations(evidence)];
  const figures = {
    linkBytes: world.links.bytes,
    longestRecoveryMs: Math.max(recovery.longestMs, healedMs ?? HEALTHY_MS),
    quietMs: quiet.tookMs,
    eventsSeen: watcher.seen.length,
    eventConnections: watcher.connections,
  };
  say(`\n${summary(evidence, clients, faults.done, figures)}`);
  const seconds = Math.round((performance.now() - since) / 1000);
  const name = `Seed ${seed}, ${minutes} minutes, ${seconds} s in all.`;
  return sayVerdict({ evidence, broken, quiet, faults: faults.done, loadBegan }, name, say);
}
