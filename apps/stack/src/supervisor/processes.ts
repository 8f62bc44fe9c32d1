import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child, httpAnswers } from '@openservice/servers';

const MAINS = {
  center: fileURLToPath(new URL('../../../center/src/main.ts', import.meta.url)),
  node: fileURLToPath(new URL('../../../node/src/main.ts', import.meta.url)),
};

export interface Urls {
  mysql: string;
  redis: string;
  nats: string;
}

export interface NodePlace {
  id: string;
  importRoot: string;
  poolPort: number;
  nbdPort: number;
}

/** Both programs by their entry files; tests put stand-ins here. */
export type Mains = typeof MAINS;
export const DEFAULT_MAINS: Mains = MAINS;

function childEnv(extra: NodeJS.ProcessEnv, own: Record<string, string>): NodeJS.ProcessEnv {
  return {
    ...process.env,
    UV_THREADPOOL_SIZE: '8',
    OPENSERVICE_LOG_LEVEL: process.env.OPENSERVICE_LOG_LEVEL ?? 'info',
    ...extra,
    ...own,
  };
}

export function centerChild(dir: string, port: number, urls: Urls, main: string, env: NodeJS.ProcessEnv): Child {
  const data = join(dir, 'center');
  mkdirSync(data, { recursive: true, mode: 0o700 });
  return new Child({
    name: 'center',
    dir,
    command: process.execPath,
    args: [main],
    cwd: data,
    env: childEnv(env, {
      OPENSERVICE_DATA_DIR: data,
      OPENSERVICE_HTTP_HOST: '127.0.0.1',
      OPENSERVICE_HTTP_PORT: String(port),
      OPENSERVICE_MYSQL_URL: urls.mysql,
      OPENSERVICE_REDIS_URL: urls.redis,
      OPENSERVICE_NATS_URL: urls.nats,
    }),
    ready: () => answersReady(`http://127.0.0.1:${port}/readyz`),
    stopLimitMs: 15_000,
  });
}

async function answersReady(url: string): Promise<boolean> {
  if (!(await httpAnswers(url))) return false;
  const response = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
  await response?.arrayBuffer();
  return response?.status === 200;
}

/** A node is ready when the center sees it online; to start it is enough that it runs. */
export function nodeChild(dir: string, place: NodePlace, urls: Urls, main: string, env: NodeJS.ProcessEnv): Child {
  const data = join(dir, place.id);
  mkdirSync(place.importRoot, { recursive: true, mode: 0o700 });
  return new Child({
    name: place.id,
    dir,
    command: process.execPath,
    args: [main],
    cwd: data,
    env: childEnv(env, {
      OPENSERVICE_NODE_ID: place.id,
      OPENSERVICE_DATA_DIR: data,
      OPENSERVICE_IMPORT_ROOTS: place.importRoot,
      OPENSERVICE_REDIS_URL: urls.redis,
      OPENSERVICE_NATS_URL: urls.nats,
      OPENSERVICE_POOL_HOST: '127.0.0.1',
      OPENSERVICE_POOL_PORT: String(place.poolPort),
      OPENSERVICE_NBD_PORT: String(place.nbdPort),
    }),
    ready: async () => true,
    stopLimitMs: 15_000,
  });
}

/** The center makes its token at its first start. */
export function readToken(dir: string): string {
  return readFileSync(join(dir, 'center', 'token'), 'utf8').trim();
}

/** The ids of the nodes that the center calls online; empty while it cannot be asked. */
export async function onlineNodes(centerUrl: string, token: string): Promise<Set<string>> {
  try {
    const response = await fetch(`${centerUrl}/openstore_v1/nodes?limit=1000`, {
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(3000),
    });
    if (!response.ok) return new Set();
    const { nodes } = (await response.json()) as { nodes: { id: string; state: string }[] };
    return new Set(nodes.filter((node) => node.state === 'online').map((node) => node.id));
  } catch {
    return new Set();
  }
}
