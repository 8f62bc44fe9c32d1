/** A second center beside a system's own: another process, port and data directory, the same MySQL, NATS and master key. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Answer, ApiClient } from './api.ts';
import { TestProcess } from './process.ts';
import { freePort } from './servers.ts';
import { type System, startSystem } from './system.ts';

const MAIN = join(import.meta.dirname, '../../../center/src/main.ts');

const LIMIT_MS = 120_000;

export interface Centers {
  readonly system: System;
  /** Both processes, and a client of each. */
  readonly processes: [TestProcess, TestProcess];
  readonly apis: [ApiClient, ApiClient];
  /** Resolves when both are ready. */
  ready(): Promise<void>;
  /** One request to whichever center is next; again, at the other, while it is away: with a key of its own, so that it is done once. */
  ask(method: string, path: string, body?: unknown): Promise<Answer>;
  stop(): Promise<void>;
}

export async function startCenters(options: { nodes: number }): Promise<Centers> {
  const key = randomBytes(32).toString('hex');
  const system = await startSystem({ ...options, center: { OPENSERVICE_MASTER_KEY: key } });
  const port = await freePort();
  const dataDir = join(system.dir, 'center-2');
  const env = {
    OPENSERVICE_REDIS_URL: system.servers.redis.url,
    OPENSERVICE_NATS_URL: system.servers.nats.url,
    OPENSERVICE_MYSQL_URL: system.servers.mysql.url,
    OPENSERVICE_LOG_LEVEL: 'info',
    OPENSERVICE_DATA_DIR: dataDir,
    OPENSERVICE_HTTP_PORT: String(port),
    OPENSERVICE_MASTER_KEY: key,
  };
  const second = new TestProcess('center-2', MAIN, env, join(system.dir, 'center-2.log'));
  second.start();
  // One token for both: a client does not care which it meets.
  const api = new ApiClient(`http://127.0.0.1:${port}`, () => readFile(join(system.dir, 'center/token'), 'utf8'));
  const apis: [ApiClient, ApiClient] = [system.api, api];
  const ready = async (): Promise<void> => {
    await Promise.all(apis.map((one) => one.until('/readyz', (answer) => answer.status === 200)));
  };
  let turn = 0;
  let asked = 0;
  await ready();
  return {
    system,
    processes: [system.center, second],
    apis,
    ready,
    async ask(method, path, body) {
      const headers = { 'idempotency-key': `asked-${++asked}-${key.slice(0, 8)}` };
      let last: unknown;
      // A key that a center took and died, or stands still, with is another's after a minute.
      for (let tries = 0, first = turn++, end = performance.now() + LIMIT_MS; performance.now() < end; tries++) {
        try {
          const answer = await apis[(first + tries) % 2]!.call(method, `/openstore_v1${path}`, body, headers, 10_000);
          if (answer.status < 300) return answer;
          last = answer.body;
          // Being worked on by a center that died, or no center that can: asked again.
          if (answer.status !== 503 && answer.body?.code !== 'idempotency_in_progress') break;
        } catch (error) {
          last = error;
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      throw new Error(`${method} ${path}: ${last instanceof Error ? last.message : JSON.stringify(last)}`);
    },
    async stop() {
      await second.kill();
      await system.stop();
    },
  };
}
