/** Wiring only. */
import { mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Agent, createAgent } from '@openservice/agent';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { toFailure } from '@openservice/domain';
import { inboxPrefix } from '@openservice/protocol';
import { closeNats, connectNats, createLog, type Part, runProcess, serveNode } from '@openservice/runtime';
import type { NatsConnection } from 'nats';
import { ByteLimits } from './byte-limits.ts';
import { Center } from './center-calls.ts';
import { type NodeConfig, readNodeConfig } from './config.ts';
import { ContentStore } from './content/content-store.ts';
import { ImportRoots } from './import-roots.ts';
import { makeHandlers } from './jobs/all.ts';
import { Instances } from './mounts/instances.ts';
import { loadCertificate } from './pool-server/certificate.ts';
import { createPoolServer, type PoolServer } from './pool-server/server.ts';
import { Pools } from './pools-access.ts';
import { makeEndpoints } from './rpc/endpoints.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

/** What later parts stand on; each is there once its part has started. */
interface Standing {
  nc: NatsConnection;
  workers: ChunkWorkers;
  center: Center;
  pools: Pools;
  poolServer: PoolServer;
  instances: Instances;
  agent: Agent;
}

/** Runs the node until it is told to stop. A configuration that cannot be used is said on stderr, and the process ends with 1. */
export async function startNode(environment: Record<string, string | undefined>): Promise<void> {
  let config: NodeConfig;
  try {
    config = readNodeConfig(environment);
  } catch (error) {
    process.stderr.write(`${toFailure(error).message}\n`);
    process.exitCode = 1;
    return;
  }
  await run(config);
}

async function run(config: NodeConfig): Promise<void> {
  const { nodeId, dataDir } = config;
  const log = createLog({ name: 'node', level: config.logLevel, fields: { node: nodeId } });
  const importRoots = new ImportRoots(config.importRoots);
  const limits = new ByteLimits();
  const content = new ContentStore(join(dataDir, 'content'));
  const scratchDir = join(dataDir, 'run');
  const there: Partial<Standing> = {};
  const need = <K extends keyof Standing>(name: K): Standing[K] => {
    const part = there[name];
    if (part === undefined) throw new Error(`${name} is started first.`);
    return part;
  };

  const nats: Part = {
    name: 'nats',
    async start(signal) {
      const inbox = inboxPrefix(nodeId);
      there.nc = await connectNats({ url: config.natsUrl, name: `node ${nodeId}`, inboxPrefix: inbox, log, signal });
    },
    async stop() {
      if (there.nc !== undefined) await closeNats(there.nc);
    },
  };
  const storage: Part = {
    name: 'storage',
    async start() {
      mkdirSync(scratchDir, { recursive: true, mode: 0o700 });
      const center = new Center({ nc: need('nc'), nodeId, log });
      const workers = createChunkWorkers({ eager: true });
      there.center = center;
      there.workers = workers;
      there.pools = new Pools({
        nodeId,
        environment: {
          workers,
          cacheDir: join(dataDir, 'cache'),
          poolToken: (poolId, blockId, right, signal) => center.poolToken(poolId, blockId, right, signal),
          dropPoolToken: (token) => center.dropToken(token),
        },
        poolSpec: (poolId, signal) => center.poolSpec(poolId, signal),
      });
    },
    async stop() {
      await there.pools?.close();
      await there.workers?.close();
    },
  };
  const poolServer: Part = {
    name: 'pool server',
    async start(signal) {
      const [center, pools] = [need('center'), need('pools')];
      const { poolHost: host, poolPort: port, poolAdvertise: advertise } = config;
      there.poolServer = createPoolServer({
        host,
        port,
        ...(advertise === null ? {} : { advertise }),
        dataDir,
        nodeId,
        pools: (poolId, signal) => pools.own(poolId, signal),
        workers: need('workers'),
        login: (request) => center.poolLogin(request),
        content,
        log,
      });
      await there.poolServer.part.start(signal);
    },
    async stop() {
      await there.poolServer?.part.stop();
    },
  };
  const instances: Part = {
    name: 'instances',
    async start(signal) {
      const pools = need('pools');
      const { nbdHost: host, nbdPort: port, nbdAdvertise, nbdTls: mode, cacheBytes } = config;
      const every = host === '0.0.0.0' || host === '::';
      there.instances = new Instances({
        directory: join(dataDir, 'instances'),
        socket: join(scratchDir, 'nbd.sock'),
        tcp: { host, port },
        // After the pool server's start, which makes the certificate where there is none.
        ...(mode === 'off' ? {} : { tls: { mode, ...(await loadCertificate(dataDir, nodeId)) } }),
        advertise: nbdAdvertise ?? (every ? hostname() : host),
        cacheBytes,
        pool: (poolId, stopped) => pools.get(poolId, stopped),
        log,
      });
      await there.instances.part.start(signal);
    },
    async stop() {
      await there.instances?.part.stop();
    },
  };
  const agent: Part = {
    name: 'agent',
    async start() {
      const [nc, pools, workers, server] = [need('nc'), need('pools'), need('workers'), need('poolServer')];
      const live = need('instances');
      const deps = { pools, importRoots, workers, center: need('center'), content, limits, scratchDir, instances: live };
      const made = createAgent({
        nodeId,
        name: nodeId,
        version,
        dataDir,
        nats: nc,
        redisUrl: config.redisUrl,
        handlers: makeHandlers(deps),
        describe: () => ({
          import_roots: importRoots.list,
          pool_endpoint: server.endpoint,
          pool_fingerprint: server.fingerprint,
          nbd_endpoint: live.endpoint,
        }),
        instances: () => live.reports(),
        onTokenKey: (key) => server.setTokenKey(key),
        onLimits: (given) => limits.set(given),
        log,
      });
      there.agent = made;
      await serveNode(nc, nodeId, makeEndpoints({ ...deps, agent: made }), {
        version,
        log,
        stats: () => ({ unwell: made.unwell }),
      });
      made.start();
    },
    async stop() {
      await there.agent?.stop();
    },
  };
  // Stopped in the reverse: first the jobs, then what others read here, then the pools under both.
  await runProcess([nats, storage, poolServer, instances, agent], { log, stopLimitMs: 15_000 });
}
