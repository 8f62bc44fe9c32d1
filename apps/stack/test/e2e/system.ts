/**
 * A center and nodes for one test file, over real servers: an own database, an own NATS and an own Redis, an own prefix in S3.
 * Unlike `npm start`, nothing restarts by itself: the test decides who dies and who comes back.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId } from '@openservice/domain';
import { ApiClient } from './api.ts';
import { TestProcess } from './process.ts';
import { freePort, startTestServers, type TestServers } from './servers.ts';

const APPS = join(import.meta.dirname, '../../..');

export interface System {
  readonly dir: string;
  readonly servers: TestServers;
  readonly center: TestProcess;
  readonly nodes: TestProcess[];
  readonly api: ApiClient;
  /** The process that passes the `armed` failpoint next kills itself there. */
  arm(step: string): Promise<void>;
  importRoot(node: number): string;
  poolPath(node: number, name: string): string;
  /** While this directory is there, each job stops for good once, at the `hold` failpoint, and leaves its id here. */
  readonly holds: string;
  /** Starts what is not running and resolves when the API is ready and every node is online. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

export interface SystemOptions {
  nodes: number;
  /** A failpoint of the nodes, `name@pass`, at which each job stops once. */
  hold?: string;
  /** Failpoints of nodes (`agent.…`) and center (`center.…`) that `arm` sets off. */
  armed?: readonly string[];
  /** More of the center's environment. */
  center?: Record<string, string>;
}

export async function startSystem(options: SystemOptions): Promise<System> {
  const dir = await mkdtemp(join(tmpdir(), 'openservice-e2e-'));
  const servers = await startTestServers(dir);
  const port = await freePort();
  const holds = join(dir, 'holds');
  const armFile = (step: string): string => join(dir, `${step}.kill`);
  const failpoints = (options.armed ?? []).map((step) => `${step}=kill:${armFile(step)}`);
  if (options.hold !== undefined) failpoints.push(`${options.hold.replace('@', '=hold@')}:${holds}`);
  const shared = {
    OPENSERVICE_REDIS_URL: servers.redis.url,
    OPENSERVICE_NATS_URL: servers.nats.url,
    OPENSERVICE_LOG_LEVEL: 'info',
    OPENSERVICE_FAILPOINTS: failpoints.join(','),
  };
  const center = new TestProcess(
    'center',
    join(APPS, 'center/src/main.ts'),
    {
      ...shared,
      OPENSERVICE_DATA_DIR: join(dir, 'center'),
      OPENSERVICE_HTTP_PORT: String(port),
      OPENSERVICE_MYSQL_URL: servers.mysql.url,
      ...options.center,
    },
    join(dir, 'center.log'),
  );
  const nodes: TestProcess[] = [];
  for (let i = 1; i <= options.nodes; i++) {
    const data = join(dir, `node-${i}`);
    await mkdir(join(data, 'import'), { recursive: true });
    const env = {
      ...shared,
      OPENSERVICE_NODE_ID: `node-${i}`,
      OPENSERVICE_DATA_DIR: data,
      OPENSERVICE_IMPORT_ROOTS: join(data, 'import'),
      OPENSERVICE_POOL_HOST: '127.0.0.1',
      OPENSERVICE_POOL_PORT: String(await freePort()),
      OPENSERVICE_NBD_PORT: String(await freePort()),
    };
    nodes.push(new TestProcess(`node-${i}`, join(APPS, 'node/src/main.ts'), env, join(dir, `node-${i}.log`)));
  }
  const api = new ApiClient(`http://127.0.0.1:${port}`, () => readFile(join(dir, 'center/token'), 'utf8'));
  for (const part of [center, ...nodes]) part.start();

  const system: System = {
    dir,
    servers,
    center,
    nodes,
    api,
    holds,
    arm: (step) => writeFile(armFile(step), ''),
    importRoot: (node) => join(dir, `node-${node}`, 'import'),
    poolPath: (node, name) => join(dir, `node-${node}`, `pool-${name}-${newId('req').slice(-6)}`),
    async ready() {
      await api.until('/readyz', (answer) => answer.status === 200);
      // A node that was killed stays `online` for a while: the epoch tells the new process from the old.
      await api.until('/openstore_v1/nodes', ({ body }) => {
        const known = (body.nodes as { id: string; state: string; epoch: number }[] | undefined) ?? [];
        return nodes.every((node) =>
          known.some(({ id, state, epoch }) => id === node.name && state === 'online' && epoch >= node.startedAt),
        );
      });
    },
    async stop() {
      for (const part of [...nodes, center]) await part.kill();
      await servers.stop();
      if (process.env.OPENSERVICE_KEEP_TEST_DIRS === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
  await system.ready();
  return system;
}
