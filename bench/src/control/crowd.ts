/** Many nodes in one process, each with a heartbeat, a sync a minute, and jobs that it holds. Asked, it tells how they fared since it was asked last. */
import type { HeldAttempt } from '@openservice/protocol';
import { closeNats, connectNats, createLog } from '@openservice/runtime';
import { serveBench } from './child.ts';
import { crowdJob, crowdNode } from './crowd-names.ts';
import { type Beats, Presence } from './presence.ts';

const { BENCH_NATS = '', BENCH_FROM = '', BENCH_TO = '', BENCH_HELD = '' } = process.env;
const [from, to, heldJobs] = [Number(BENCH_FROM), Number(BENCH_TO), Number(BENCH_HELD)];
/** Nodes that make their first sync at a time: as after a center was away. */
const AT_ONCE = 8;

const log = createLog({ name: `crowd-${from}`, level: 'warn' });
const nc = await connectNats({ url: BENCH_NATS, name: `crowd ${from}`, log, signal: AbortSignal.timeout(20_000) });
const none = (): Beats => ({ heartbeats: [], syncs: [], refused: 0, failed: 0 });
const beats = none();
const nodes = Array.from({ length: to - from }, (_, i) => {
  const held: HeldAttempt[] = Array.from({ length: heldJobs }, (_, k) => ({
    job_id: crowdJob(from + i, k, heldJobs),
    attempt: 1,
    state: 'running',
  }));
  return new Presence(nc, crowdNode(from + i), held, beats);
});
const waiting = [...nodes];
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) await node.start();
  }),
);

serveBench(
  async () => {
    const told = { ...beats };
    Object.assign(beats, none());
    return told;
  },
  async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await closeNats(nc);
  },
);
