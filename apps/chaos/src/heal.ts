/** Whatever is broken is put right: every process runs, every link carries, disks have room, clocks are right. */
import { setTimeout as pause } from 'node:timers/promises';
import type { World } from './stack/world.ts';

export const HEALTHY_MS = 120_000;

export async function heal(world: World): Promise<void> {
  for (const name of world.links.names) {
    const link = world.links.get(name);
    link.stall(false);
    link.delay(0);
    link.cut();
    link.drop(false);
    link.allow();
  }
  for (const disk of world.smallDisks.values()) disk.clear();
  const { mysql, redis, nats, s3 } = world.servers;
  for (const server of [mysql, redis, nats, s3]) {
    server.kill('SIGCONT');
    await server.start();
  }
  for (const program of [...world.centers, ...world.nodes]) {
    program.stepClock(0);
    program.thaw();
    await program.start();
  }
}

/** Resolves with the ms it took; null where the stack is not well in time. */
export async function whenHealthy(world: World, signal: AbortSignal): Promise<number | null> {
  const since = performance.now();
  while (!(await world.healthy())) {
    signal.throwIfAborted();
    if (performance.now() - since > HEALTHY_MS) return null;
    await pause(250);
  }
  return performance.now() - since;
}

/** No node is drained, and nothing is limited, any more. */
export async function unbind(world: World): Promise<void> {
  const none = { max_jobs: null, bandwidth: null };
  const { nodes, pools } = world.playground;
  const wanted: [path: string, body?: unknown][] = [
    ...nodes.map((node): [string] => [`/nodes/${node}?action=activate`]),
    ...nodes.map((node): [string, unknown] => [`/nodes/${node}?action=limit`, none]),
    ...pools.map(({ id }): [string, unknown] => [`/pools/${id}?action=limit`, none]),
  ];
  for (const [path, body] of wanted) {
    for (const api of world.apis) {
      const answer = await api.post(path, body).catch(() => null);
      if (answer !== null && answer.status < 500) break;
    }
  }
}
