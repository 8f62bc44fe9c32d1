/**
 * The whole stack as children of this process: servers, then the center, then the nodes; stopped the other way round.
 * Whatever of ours dies is started again with backoff, and `dir`/stack.json always names the processes that run.
 */
import { EventEmitter } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { PermanentError, TransientError } from '@openservice/domain';
import {
  type Child,
  freePort,
  freePortFrom,
  remember,
  remembered,
  type S3Access,
  type Servers,
  startServers,
  supervise,
  until,
} from '@openservice/servers';
import { ownDirectory } from './owner.ts';
import { centerChild, DEFAULT_MAINS, type Mains, type NodePlace, nodeChild, onlineNodes, readToken } from './processes.ts';

/** The content of stack.json. */
export interface StackFile {
  center: { url: string; token: string; pid: number };
  mysql: { url: string };
  redis: { url: string };
  nats: { url: string };
  s3: S3Access;
  nodes: { id: string; pid: number; import_root: string; pool_port: number; nbd_port: number }[];
}

export interface StackOptions {
  dir: string;
  /** Default 8080. */
  port?: number;
  /** Default 2. */
  nodes?: number;
  /** Says nothing while it starts. */
  quiet?: boolean;
  /** Added to the environment of center and nodes. */
  env?: NodeJS.ProcessEnv;
  s3Mode?: 'memory' | 'persistent';
  signal?: AbortSignal;
  mains?: Mains;
}

export interface StackEvents {
  died: [name: string, delayMs: number];
  restarted: [name: string, pid: number];
}

export interface Stack {
  /** As in stack.json; changes when a process was started again. */
  readonly stack: StackFile;
  readonly events: EventEmitter<StackEvents>;
  readonly servers: Servers;
  /** Center and nodes by name (`center`, `node-1`, …). */
  readonly children: ReadonlyMap<string, Child>;
  stop(): Promise<void>;
}

interface Ports {
  center: number;
  nodes: Record<string, { pool: number; nbd: number }>;
}

async function choosePorts(dir: string, first: number, count: number): Promise<{ center: number; places: NodePlace[] }> {
  const file = join(dir, 'run', 'ports.json');
  const kept = remembered<Ports>(file);
  const center = await freePortFrom(first);
  const nodes: Ports['nodes'] = {};
  const places: NodePlace[] = [];
  for (let number = 1; number <= count; number += 1) {
    const id = `node-${number}`;
    const before = kept.nodes?.[id];
    const keep = async (port: number | undefined, from: number) => {
      if (port !== undefined && (await freePort(port)) === port) return port;
      return freePortFrom(from);
    };
    const [pool, nbd] = [await keep(before?.pool, 9527), await keep(before?.nbd, 10_809)];
    nodes[id] = { pool, nbd };
    places.push({ id, importRoot: join(dir, id, 'import'), poolPort: pool, nbdPort: nbd });
  }
  remember(file, { center, nodes });
  return { center, places };
}

function need<T>(server: { address: T } | undefined): T {
  if (server === undefined) throw new PermanentError('internal', 'A server of the stack was not started.');
  return server.address;
}

/** Resolves when the center is ready and all nodes are online. Nothing is left running when it throws. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const dir = resolve(options.dir);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const letGo = ownDirectory(dir);
  const log = options.quiet === true ? () => undefined : (line: string) => void process.stdout.write(`${line}\n`);
  const file = join(dir, 'stack.json');
  rmSync(file, { force: true });

  const children = new Map<string, Child>();
  const events = new EventEmitter<StackEvents>();
  const unwatch: (() => void)[] = [];
  let servers: Servers | undefined;
  const stop = async () => {
    for (const end of unwatch.splice(0)) end();
    rmSync(file, { force: true });
    const nodes = [...children].filter(([name]) => name !== 'center').map(([, child]) => child.stop());
    await Promise.all(nodes);
    await children.get('center')?.stop();
    await servers?.stop();
    letGo();
  };

  try {
    const { signal, env = {}, mains = DEFAULT_MAINS } = options;
    servers = await startServers({ dir, log, signal, ...(options.s3Mode === undefined ? {} : { s3Mode: options.s3Mode }) });
    const urls = { mysql: need(servers.mysql).url, redis: need(servers.redis).url, nats: need(servers.nats).url };
    const { center: port, places } = await choosePorts(dir, options.port ?? 8080, options.nodes ?? 2);
    const url = `http://127.0.0.1:${port}`;
    const center = centerChild(dir, port, urls, mains.center, env);
    children.set('center', center);
    await center.start(signal);
    const token = readToken(dir);
    for (const place of places) children.set(place.id, nodeChild(dir, place, urls, mains.node, env));
    await Promise.all(places.map((place) => children.get(place.id)?.start(signal)));

    const s3 = need(servers.s3);
    // While one waits to be started again, the file still names the pid it had.
    const lastPids = new Map<Child, number>();
    const pidOf = (child: Child | undefined): number => {
      if (child === undefined) return 0;
      if (child.pid !== undefined) lastPids.set(child, child.pid);
      return child.pid ?? lastPids.get(child) ?? 0;
    };
    const content = (): StackFile => ({
      center: { url, token, pid: pidOf(center) },
      mysql: { url: urls.mysql },
      redis: { url: urls.redis },
      nats: { url: urls.nats },
      s3,
      nodes: places.map(({ id, importRoot, poolPort, nbdPort }) => {
        return { id, pid: pidOf(children.get(id)), import_root: importRoot, pool_port: poolPort, nbd_port: nbdPort };
      }),
    });

    let announced = false;
    const ofServers = servers.all.flatMap((server) => [...server.children]);
    for (const child of [...ofServers, ...children.values()]) {
      // The file names a new process as soon as it runs, which is before it is ready.
      const onStarted = () => {
        if (announced && child.wanted) remember(file, content());
      };
      child.on('started', onStarted);
      unwatch.push(() => child.off('started', onStarted));
      unwatch.push(
        supervise(child, {
          died: (one, delayMs) => events.emit('died', one.name, delayMs),
          restarted: (one) => events.emit('restarted', one.name, one.pid ?? 0),
        }),
      );
    }
    const online = await until(
      async () => {
        const seen = await onlineNodes(url, token);
        return places.every(({ id }) => seen.has(id));
      },
      { limitMs: 60_000, everyMs: 100, signal },
    );
    if (signal?.aborted === true) throw new TransientError('start_called_off', 'The start was called off.');
    if (!online) throw new TransientError('nodes_not_online', `Not all nodes came online within 60 s; see ${join(dir, 'logs')}.`);
    announced = true;
    remember(file, content());
    let stopping: Promise<void> | undefined;
    return {
      get stack() {
        return content();
      },
      events,
      servers,
      children,
      stop: () => {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
