/** A pool server on the loopback, with a center's key pair of its own, and pools behind it. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { PermanentError, type PoolSpec, type RemotePoolSpec } from '@openservice/domain';
import { openPool, type Pool, type PoolEnvironment } from '@openservice/pools';
import { type PoolRight, signPoolToken } from '@openservice/protocol';
import { createLog } from '@openservice/runtime';
import { ContentStore } from '../../src/content/content-store.ts';
import { createPoolServer, type PoolServer, type PoolServerOptions } from '../../src/pool-server/server.ts';

export interface TestServer {
  readonly port: number;
  readonly fingerprint: string;
  readonly workers: ChunkWorkers;
  readonly content: ContentStore;
  token(pool: string, block: string | null, right: PoolRight, lifeMs?: number): string;
  /** How a node of the same center sees `pool`. */
  spec(pool: string, changes?: Partial<RemotePoolSpec>): RemotePoolSpec;
  environment: PoolEnvironment;
  open(pool: string, changes?: Partial<RemotePoolSpec>): Pool;
  /** The pool behind the server. */
  behind(poolId: string): Promise<Pool>;
  /** Stops, and starts on the same port and directory as a new process would. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface TestServerOptions {
  dataDir: string;
  specs?: PoolSpec[];
  keys?: { publicKey: KeyObject; privateKey: KeyObject };
  login?: PoolServerOptions['login'];
  limits?: PoolServerOptions['limits'];
  /** Shared with others; they stay the caller's. Left out: workers of its own. */
  workers?: ChunkWorkers;
  /** No center has told its key yet. */
  withoutKey?: boolean;
}

export async function startPoolServer(options: TestServerOptions): Promise<TestServer> {
  const { dataDir, specs = [] } = options;
  const keys = options.keys ?? generateKeyPairSync('ed25519');
  const workers = options.workers ?? createChunkWorkers({ threads: 2 });
  const content = new ContentStore(`${dataDir}/content`);
  let pools = new Map<string, Pool>();
  const behind = async (poolId: string): Promise<Pool> => {
    const there = pools.get(poolId);
    if (there !== undefined) return there;
    const spec = specs.find(({ id }) => id === poolId);
    if (spec === undefined) throw new PermanentError('pool_not_found', `Pool ${poolId} does not lie here.`);
    const pool = openPool(spec, { workers });
    pools.set(poolId, pool);
    return pool;
  };
  let server: PoolServer;
  let port = 0;
  const start = async (): Promise<void> => {
    server = createPoolServer({
      host: '127.0.0.1',
      port,
      dataDir,
      nodeId: 'node-1',
      pools: behind,
      workers,
      login: options.login ?? (() => Promise.reject(new PermanentError('unauthorized', 'No keys were issued.'))),
      content,
      log: createLog({ name: 'test', level: 'silent' }),
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    await server.part.start(new AbortController().signal);
    if (options.withoutKey !== true)
      server.setTokenKey(keys.publicKey.export({ type: 'spki', format: 'der' }).toString('base64'));
    port = Number(new URL(server.endpoint ?? '').port);
  };
  const stop = async (): Promise<void> => {
    await server.part.stop();
    for (const pool of pools.values()) await pool.close();
    pools = new Map();
  };
  await start();
  const token: TestServer['token'] = (pool, block, right, lifeMs = 60_000) =>
    signPoolToken({ pool, block, right, exp: Date.now() + lifeMs }, keys.privateKey);
  const spec: TestServer['spec'] = (pool, changes = {}) => ({
    id: pool,
    type: 'remote',
    host: '127.0.0.1',
    port,
    https: true,
    tls_fingerprint: server.fingerprint,
    remote_pool: pool,
    auth: { type: 'center' },
    ...changes,
  });
  const environment: PoolEnvironment = { workers, poolToken: async (pool, block, right) => token(pool, block, right) };
  return {
    get port() {
      return port;
    },
    get fingerprint() {
      return server.fingerprint ?? '';
    },
    workers,
    content,
    token,
    spec,
    environment,
    open: (pool, changes) => openPool(spec(pool, changes), environment),
    behind,
    restart: async () => {
      await stop();
      await start();
    },
    stop: async () => {
      await stop();
      if (options.workers === undefined) await workers.close();
    },
  };
}
