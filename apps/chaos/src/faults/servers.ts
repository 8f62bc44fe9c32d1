/** The servers under us: killed, frozen, emptied. */

import { rmSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { connect } from 'nats';
import type { World } from '../stack/world.ts';
import type { FaultKind } from './fault.ts';

const SERVERS = ['mysql', 'redis', 'nats', 's3'] as const;
const serverOf = (world: World, target: string) => world.servers[target as (typeof SERVERS)[number]];
const ASK_MS = 3_000;

export const killServer: FaultKind = {
  kind: 'kill',
  weight: 5,
  targets: SERVERS,
  draw: (draw, target) => ({ forMs: draw.int(0, target === 'mysql' ? 8_000 : 12_000) }),
  async begin(world, { target }) {
    const server = serverOf(world, target);
    // Of S3 only the gateway: its store takes half a minute to come back.
    const children = target === 's3' ? server.children.slice(-1) : server.children;
    for (const child of children) child.kill('SIGKILL');
    for (const child of children) await child.gone();
    return true;
  },
  end: (world, { target }) => serverOf(world, target).start(),
};

export const freezeServer: FaultKind = {
  kind: 'freeze',
  weight: 4,
  targets: SERVERS,
  draw: (draw) => ({ forMs: draw.int(500, 14_000) }),
  async begin(world, { target }) {
    serverOf(world, target).children.at(-1)?.kill('SIGSTOP');
    return true;
  },
  async end(world, { target }) {
    serverOf(world, target).children.at(-1)?.kill('SIGCONT');
  },
};

export const flushRedis: FaultKind = {
  kind: 'flushall',
  weight: 4,
  targets: ['redis'],
  draw: () => ({ forMs: 0 }),
  begin: (world) => redisFlushAll(Number(new URL(world.servers.redis.address.url).port)),
  end: async () => undefined,
};

/** Its streams are deleted, under the running server. */
export const deleteStreams: FaultKind = {
  kind: 'streams-deleted',
  weight: 3,
  targets: ['nats'],
  draw: () => ({ forMs: 0 }),
  async begin(world) {
    const nc = await connect({ servers: world.servers.nats.address.url, timeout: ASK_MS, reconnect: false }).catch(() => null);
    if (nc === null) return false;
    try {
      const manager = await nc.jetstreamManager();
      for (const stream of ['OPENSERVICE_CMD', 'OPENSERVICE_EVT']) await manager.streams.delete(stream).catch(() => false);
      return true;
    } finally {
      await nc.close();
    }
  },
  end: async () => undefined,
};

/** Killed, and its store removed before it starts again. */
export const wipeJetStream: FaultKind = {
  kind: 'jetstream-wiped',
  weight: 2,
  targets: ['nats'],
  draw: (draw) => ({ forMs: draw.int(0, 6_000) }),
  async begin(world) {
    for (const child of world.servers.nats.children) {
      child.kill('SIGKILL');
      await child.gone();
    }
    rmSync(join(world.dir, 'servers', 'nats', 'jetstream'), { recursive: true, force: true });
    return true;
  },
  end: (world) => world.servers.nats.start(),
};

function redisFlushAll(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host: '127.0.0.1', port });
    const end = (done: boolean) => {
      socket.destroy();
      resolve(done);
    };
    socket.setTimeout(ASK_MS, () => end(false));
    socket.once('error', () => end(false));
    socket.once('connect', () => socket.write('FLUSHALL\r\n'));
    socket.on('data', (part) => end(part.toString('latin1').startsWith('+OK')));
  });
}
