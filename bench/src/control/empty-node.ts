/** A node of the bench's own: the real agent (journal, queue, events), whose handlers do nothing. What is left is what a job costs by itself. */
import { createAgent, type HandlerTable } from '@openservice/agent';
import { JOB_KINDS } from '@openservice/domain';
import { inboxPrefix, type JobResult } from '@openservice/protocol';
import { closeNats, connectNats, createLog, type NodeEndpoints, type NodeRequest, serveNode } from '@openservice/runtime';
import { serveBench } from './child.ts';

const { BENCH_NATS = '', BENCH_REDIS = '', BENCH_NODE = '', BENCH_DIR = '', BENCH_CONCURRENCY = '' } = process.env;
const RESULT: JobResult = { root_digest: null, size: null, replicas: [], verified: true, progress: null, damage: [] };
const VERSION = '0.1.0';

const log = createLog({ name: BENCH_NODE, level: 'warn' });
const nc = await connectNats({
  url: BENCH_NATS,
  name: BENCH_NODE,
  inboxPrefix: inboxPrefix(BENCH_NODE),
  log,
  signal: AbortSignal.timeout(20_000),
});
const handlers = Object.fromEntries(
  JOB_KINDS.map((kind) => [
    kind,
    { kind, concurrency: Number(BENCH_CONCURRENCY), run: async () => RESULT, cleanUp: async () => undefined },
  ]),
) as unknown as HandlerTable;
const agent = createAgent({
  nodeId: BENCH_NODE,
  name: BENCH_NODE,
  version: VERSION,
  dataDir: BENCH_DIR,
  nats: nc,
  redisUrl: BENCH_REDIS,
  handlers,
  describe: () => ({ import_roots: [], pool_endpoint: null, pool_fingerprint: null, nbd_endpoint: null }),
  log,
});
// It has neither pools nor sources: what else a center may ask is answered with an error, as by any node that cannot.
const endpoints = {
  have: async ({ events }: NodeRequest<'have'>) => {
    agent.have(events);
    return {};
  },
} as unknown as NodeEndpoints;
await serveNode(nc, BENCH_NODE, endpoints, { version: VERSION, log });
agent.start();
serveBench(
  async () => null,
  async () => {
    await agent.stop();
    await closeNats(nc);
  },
);
