/** An agent with handlers that do as a test says. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JOB_KINDS } from '@openservice/domain';
import { inboxPrefix, type JobResult } from '@openservice/protocol';
import { closeNats, connectNats, createLog, type LogLevel, type NodeEndpoints, serveNode } from '@openservice/runtime';
import type { NatsConnection } from 'nats';
import { type Agent, createAgent } from '../../src/agent.ts';
import type { HandlerTable, JobContext } from '../../src/port.ts';
import type { SyncLimits } from '../../src/presence.ts';

export const RESULT: JobResult = { root_digest: 'ab', size: 4, replicas: [], verified: false, progress: null, damage: [] };
export type ToyContext = JobContext<unknown>;

export interface Toy {
  run(context: ToyContext): Promise<JobResult>;
  cleanUp?(context: { jobId: string }): Promise<void>;
  concurrency?: number;
}

export function toyHandlers(toy: Toy): HandlerTable {
  const entries = JOB_KINDS.map((kind) => [
    kind,
    {
      kind,
      concurrency: toy.concurrency ?? 4,
      run: (context: ToyContext) => toy.run(context),
      cleanUp: async (context: { jobId: string }) => await toy.cleanUp?.(context),
    },
  ]);
  return Object.fromEntries(entries) as unknown as HandlerTable;
}

export async function startToyNode(options: {
  natsUrl: string;
  redisUrl: string;
  nodeId: string;
  dataDir: string;
  /** What the handlers do; or handlers of one's own. */
  toy: Toy | HandlerTable;
  onTokenKey?: ((key: string) => void) | undefined;
  healthEveryMs?: number | undefined;
  onLimits?: ((limits: SyncLimits) => void) | undefined;
}): Promise<{ agent: Agent; nc: NatsConnection; stop: () => Promise<void> }> {
  const log = createLog({ name: options.nodeId, level: (process.env.OPENSERVICE_TEST_LOG ?? 'silent') as LogLevel });
  const { nodeId } = options;
  const nc = await connectNats({
    url: options.natsUrl,
    name: nodeId,
    inboxPrefix: inboxPrefix(nodeId),
    log,
    signal: AbortSignal.timeout(20_000),
  });
  const agent = await makeAgent(nc, () =>
    createAgent({
      nodeId,
      name: nodeId,
      version: '0.0.1',
      dataDir: options.dataDir,
      nats: nc,
      redisUrl: options.redisUrl,
      handlers: 'run' in options.toy ? toyHandlers(options.toy as Toy) : options.toy,
      describe: () => ({ import_roots: [], pool_endpoint: null, pool_fingerprint: null, nbd_endpoint: null }),
      onTokenKey: options.onTokenKey,
      onLimits: options.onLimits,
      healthEveryMs: options.healthEveryMs,
      log,
    }),
  );
  const endpoints = {
    have: async ({ events }: { events: { job_id: string; attempt: number; seq: number }[] }) => {
      agent.have(events);
      return {};
    },
  } as unknown as NodeEndpoints;
  await serveNode(nc, nodeId, endpoints, { version: '0.0.1', log });
  agent.start();
  const stop = async (): Promise<void> => {
    await agent.stop();
    await closeNats(nc);
  };
  return { agent, nc, stop };
}

/** A connection without an agent must not outlive the failure. */
async function makeAgent(nc: NatsConnection, make: () => Agent): Promise<Agent> {
  try {
    return make();
  } catch (error) {
    await nc.close();
    throw error;
  }
}

export async function tempDir(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'os-agent-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((r) => {
    resolve = r;
  });
  return { promise, resolve };
}

/** Rejects with the signal's reason when it fires. */
export async function untilAborted(signal: AbortSignal): Promise<never> {
  return await new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
