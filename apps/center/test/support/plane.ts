/** Parts of a center on a test's own servers. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { connectNats, createLog, type Part } from '@openservice/runtime';
import type { DataSource } from '@openservice/store';
import { Ingest } from '../../src/ingest/ingest.ts';
import { ProgressSink } from '../../src/ingest/progress.ts';
import type { Plane } from '../../src/plane.ts';
import { Relay } from '../../src/relay/relay.ts';
import { StreamHealth } from '../../src/relay/stream-health.ts';
import { ensureAll } from '../../src/relay/streams.ts';
import { centerService } from '../../src/rpc/serve.ts';
import { createSecrets } from '../../src/secrets.ts';

export const silent = createLog({ name: 'test', level: 'silent' });

export interface TestCenter {
  plane: Plane;
  relay: Relay;
  stop(): Promise<void>;
}

/** A center without HTTP and reconcile. */
export async function startCenter(database: DataSource, natsUrl: string, log = silent): Promise<TestCenter> {
  const nc = await connectNats({ url: natsUrl, name: 'test-center', log, signal: AbortSignal.timeout(10_000) });
  const plane: Plane = { database, nc, log };
  await ensureAll(nc, database);
  const relay = new Relay(plane);
  const poke = (): void => relay.poke();
  const service = centerService(plane, {
    secrets: createSecrets(new Uint8Array(32)),
    version: '0.0.1',
    trashMs: 7 * 24 * 3600_000,
    poke,
  });
  // A stream that is made again while NATS still removes the one before is broken; see there.
  const health = new StreamHealth(plane, poke);
  const parts: Part[] = [
    relay,
    new Ingest(plane, { poke, roomMade: () => relay.roomMade() }),
    new ProgressSink(plane),
    service,
    health,
  ];
  for (const part of parts) await part.start(new AbortController().signal);
  return {
    plane,
    relay,
    async stop() {
      for (const part of parts.toReversed()) await part.stop();
      await nc.close();
    },
  };
}

/** A TCP way to a server that can be cut, so that a test takes MySQL away without taking it from others. */
export class Cuttable {
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #port = 0;
  readonly #target: URL;

  constructor(target: string) {
    this.#target = new URL(target);
  }

  async open(): Promise<string> {
    this.#server = createServer((near) => {
      const far = connect(Number(this.#target.port || 3306), this.#target.hostname);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.pipe(to);
        from.on('error', () => to.destroy());
        from.on('close', () => {
          this.#sockets.delete(from);
          to.destroy();
        });
      }
    }).listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
    const url = new URL(this.#target);
    url.hostname = '127.0.0.1';
    url.port = String(this.#port);
    return url.href;
  }

  /** All connections break; new ones are refused until `open`. */
  async cut(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
