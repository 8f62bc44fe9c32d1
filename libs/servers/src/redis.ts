import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Child } from './child.ts';
import { composeChild } from './compose.ts';
import { givenUrl } from './given.ts';
import { findBinary } from './paths.ts';
import { freePort } from './ports.ts';
import { redisAnswers } from './probe.ts';
import { remember, remembered } from './remembered.ts';
import { Server, type StartOptions } from './server.ts';

export const redisBinary = (): string | undefined => findBinary('redis-server', 'valkey-server');

/** Redis with an append-only file, and never an eviction: a queue's keys are not a cache. */
export async function startRedis(options: StartOptions): Promise<Server<{ url: string }>> {
  const given = await givenUrl('OPENSERVICE_REDIS_URL', redisAnswers);
  if (given !== undefined) return new Server('redis', given);

  const facts = join(options.dir, 'run', 'redis.json');
  const port = await freePort(remembered<{ port: number }>(facts).port);
  remember(facts, { port });
  const data = join(options.dir, 'redis');
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const common = { name: 'redis', dir: options.dir, ready: () => redisAnswers('127.0.0.1', port) };
  const binary = redisBinary();
  const child =
    binary === undefined
      ? composeChild({ ...common, service: 'redis', port, inside: 6379, data, mount: '/data' })
      : new Child({
          ...common,
          command: binary,
          args: [
            ...['--bind', '127.0.0.1', '--port', String(port), '--dir', data, '--daemonize', 'no'],
            ...['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '', '--maxmemory-policy', 'noeviction'],
          ],
          // redis-server renames itself; its working directory says whose it is.
          cwd: data,
        });
  await child.start(options.signal);
  return new Server('redis', { url: `redis://127.0.0.1:${port}` }, [child]);
}
