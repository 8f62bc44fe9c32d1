import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Child, type ChildSpec } from './child.ts';
import { findBinary } from './paths.ts';

const COMPOSE_FILE = fileURLToPath(new URL('../../../docker-compose.yml', import.meta.url));
let works: boolean | undefined;

/** Whether Docker Compose is here and its daemon answers; asked once. */
export function composeWorks(): boolean {
  if (works === undefined) {
    const docker = findBinary('docker');
    const says = (...args: string[]) => spawnSync(docker ?? '', args, { stdio: 'ignore', timeout: 10_000 }).status === 0;
    works = docker !== undefined && says('compose', 'version') && says('info');
  }
  return works;
}

/** One service of docker-compose.yml in the foreground, as a child: its port on our loopback, its data under `data`. */
export function composeChild(
  spec: Omit<ChildSpec, 'command' | 'args'> & {
    service: string;
    port: number;
    inside: number;
    data: string;
    mount: string;
    environment?: Record<string, string>;
    words?: string[];
  },
): Child {
  const docker = findBinary('docker') ?? 'docker';
  const container = `openservice-${spec.service}-${createHash('sha256').update(spec.dir).digest('hex').slice(0, 12)}`;
  // A container outlives a client that was SIGKILLed: the one of an earlier start goes first.
  spawnSync(docker, ['rm', '--force', container], { stdio: 'ignore', timeout: 30_000 });
  const environment = Object.entries(spec.environment ?? {}).flatMap(([key, value]) => ['--env', `${key}=${value}`]);
  return new Child({
    ...spec,
    command: docker,
    args: [
      ...['compose', '--file', COMPOSE_FILE, 'run', '--rm', '--no-deps', '--no-TTY', '--name', container],
      ...['--publish', `127.0.0.1:${spec.port}:${spec.inside}`, '--volume', `${spec.data}:${spec.mount}`],
      ...environment,
      spec.service,
      ...(spec.words ?? []),
    ],
    readyLimitMs: 300_000,
    stopLimitMs: 30_000,
  });
}
