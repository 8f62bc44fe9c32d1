/**
 * The stack under faults: two centers and three nodes over real servers of their own, every connection through a link that can be broken.
 *
 * What stands where: local pools on node-1 and node-2; dedup pools on node-1, on a small disk of node-3; two S3 pools, each through a link of
 * its own; a remote pool, which node-3 exports. node-2's data lies on a small disk.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { freePort, type S3Access, type Servers, startServers } from '@openservice/servers';
import { ApiClient } from '@openservice/testkit';
import type { Playground, PoolPlace } from '../actions/action.ts';
import { hasSecondLoopback, Links } from './links.ts';
import { hasOwnMounts } from './own-mounts.ts';
import { type OwnEnd, Program } from './programs.ts';
import { SmallDisk } from './small-disk.ts';

const SECOND_LOOPBACK = '127.0.0.2';
export const CENTERS = ['center-1', 'center-2'] as const;
export const NODES = ['node-1', 'node-2', 'node-3'] as const;
const READY_MS = 120_000;

type Started = Required<Pick<Servers, 'mysql' | 'redis' | 'nats' | 's3'>> & Pick<Servers, 'stop'>;

export interface World {
  readonly dir: string;
  readonly servers: Started;
  readonly centers: readonly Program[];
  readonly nodes: readonly Program[];
  readonly links: Links;
  /** By name: `node-2-data`, `node-3-pool`. Empty where they cannot be mounted. */
  readonly smallDisks: ReadonlyMap<string, SmallDisk>;
  /** What cannot be done on this machine, in sentences. */
  readonly leftOut: readonly string[];
  readonly apis: readonly ApiClient[];
  readonly token: string;
  readonly playground: Playground;
  /** Programs that ended without having been told to. */
  readonly ownEnds: readonly OwnEnd[];
  /** Both centers answer and every node is there, in its present epoch. */
  healthy(): Promise<boolean>;
  program(name: string): Program;
  stop(): Promise<void>;
}

export async function startWorld(options: {
  dir: string;
  since: number;
  log: (line: string) => void;
  signal: AbortSignal;
}): Promise<World> {
  const { dir, since, log, signal } = options;
  // The servers are to be ours alone: they are killed.
  for (const name of ['MYSQL_URL', 'REDIS_URL', 'NATS_URL', 'S3_ENDPOINT']) delete process.env[`OPENSERVICE_${name}`];
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const leftOut: string[] = [];
  const ownEnds: OwnEnd[] = [];
  const links = new Links();
  const programs: Program[] = [];
  const smallDisks = new Map<string, SmallDisk>();
  let servers: Servers | undefined;

  const stop = async () => {
    for (const program of programs) program.thaw();
    await Promise.all(programs.map((program) => program.stop()));
    for (const server of servers?.all ?? []) server.kill('SIGCONT');
    await servers?.stop();
    await links.close();
    for (const disk of smallDisks.values()) disk.unmount();
  };

  try {
    mountDisks(dir, smallDisks, leftOut);
    servers = await startServers({ dir: join(dir, 'servers'), log, signal });
    const { mysql, redis, nats, s3 } = servers as Started;
    if (s3.children.length < 2)
      leftOut.push('S3 is s3rver here (no radosgw): it has no conditional write, so its pools fence by looking first.');
    const proxied = await hasSecondLoopback(SECOND_LOOPBACK);
    if (!proxied) leftOut.push(`${SECOND_LOOPBACK} cannot be listened on, so the links to pool servers stay whole.`);
    const masterKey = randomBytes(32).toString('hex');
    const onOwnEnd = (end: Omit<OwnEnd, 'at'>) => {
      ownEnds.push({ ...end, at: Math.round(performance.now() - since) });
    };

    const apis: ApiClient[] = [];
    for (const name of CENTERS) {
      const port = await freePort();
      const program = new Program({
        kind: 'center',
        name,
        dir,
        dataDir: join(dir, name),
        onOwnEnd,
        env: {
          OPENSERVICE_HTTP_HOST: '127.0.0.1',
          OPENSERVICE_HTTP_PORT: String(port),
          OPENSERVICE_MYSQL_URL: await links.add(`${name}:mysql`, mysql.address.url),
          OPENSERVICE_REDIS_URL: await links.add(`${name}:redis`, redis.address.url),
          OPENSERVICE_NATS_URL: await links.add(`${name}:nats`, nats.address.url),
          OPENSERVICE_MASTER_KEY: masterKey,
        },
      });
      programs.push(program);
      apis.push(new ApiClient(`http://127.0.0.1:${port}`, async () => readFileSync(join(dir, 'center-1', 'token'), 'utf8')));
    }
    const imports = (node: string) => join(dir, 'import', node);
    for (const name of NODES) {
      const [pool, nbd] = [await freePort(), await freePort()];
      mkdirSync(imports(name), { recursive: true, mode: 0o700 });
      if (proxied) await links.addAt(`pools:${name}`, pool, { host: SECOND_LOOPBACK, port: pool });
      const program = new Program({
        kind: 'node',
        name,
        dir,
        dataDir: smallDisks.get(`${name}-data`)?.path ?? join(dir, name),
        onOwnEnd,
        env: {
          OPENSERVICE_NODE_ID: name,
          OPENSERVICE_IMPORT_ROOTS: imports(name),
          OPENSERVICE_REDIS_URL: await links.add(`${name}:redis`, redis.address.url),
          OPENSERVICE_NATS_URL: await links.add(`${name}:nats`, nats.address.url),
          OPENSERVICE_POOL_HOST: proxied ? SECOND_LOOPBACK : '127.0.0.1',
          OPENSERVICE_POOL_ADVERTISE: '127.0.0.1',
          OPENSERVICE_POOL_PORT: String(pool),
          OPENSERVICE_NBD_HOST: '127.0.0.1',
          OPENSERVICE_NBD_PORT: String(nbd),
        },
      });
      programs.push(program);
    }
    const centers = programs.slice(0, CENTERS.length);
    const nodes = programs.slice(CENTERS.length);
    for (const program of programs) await program.start();

    const startedAt = Date.now();
    const healthy = async () => {
      try {
        for (const api of apis) {
          if ((await api.call('GET', '/readyz', undefined, {}, 2_000)).status !== 200) return false;
          const { status, body } = await api.call('GET', '/openstore_v1/nodes', undefined, {}, 2_000);
          const known = (body.nodes ?? []) as { id: string; state: string; epoch: number }[];
          const there = NODES.every((id) =>
            known.some((node) => node.id === id && ['online', 'draining', 'drained'].includes(node.state)),
          );
          if (status !== 200 || !there) return false;
        }
        return nodes.every(({ child }) => child.pid !== undefined);
      } catch {
        return false;
      }
    };
    while (!(await healthy())) {
      signal.throwIfAborted();
      if (Date.now() - startedAt > READY_MS)
        throw new Error(`The stack was not ready within ${READY_MS / 1000} s; see ${join(dir, 'logs')}.`);
      await pause(200);
    }
    const pools = await makePools(apis[0] as ApiClient, dir, links, s3.address, smallDisks.get('node-3-pool'));
    return {
      dir,
      servers: servers as Started,
      centers,
      nodes,
      links,
      smallDisks,
      leftOut,
      apis,
      token: readFileSync(join(dir, 'center-1', 'token'), 'utf8').trim(),
      playground: { pools, nodes: NODES, importDir: imports },
      ownEnds,
      healthy,
      program: (name) => {
        const one = programs.find((program) => program.name === name);
        if (one === undefined) throw new Error(`There is no program ${name}.`);
        return one;
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function mountDisks(dir: string, disks: Map<string, SmallDisk>, leftOut: string[]): void {
  if (hasOwnMounts()) {
    for (const [name, mib] of [
      ['node-2-data', 192],
      ['node-3-pool', 128],
    ] as const) {
      const disk = SmallDisk.mount(join(dir, 'small', name), mib);
      if (disk !== null) disks.set(name, disk);
    }
  }
  if (disks.size < 2) leftOut.push('No disk can be mounted here (it takes root and unshare), so no disk is full.');
}

async function makePools(
  api: ApiClient,
  dir: string,
  links: Links,
  s3: S3Access,
  small: SmallDisk | undefined,
): Promise<PoolPlace[]> {
  const pools: PoolPlace[] = [];
  const make = async (place: Omit<PoolPlace, 'id'>, body: Record<string, unknown>) => {
    const answer = await api.ok('PUT', '/pools', { type: place.type, name: place.name, ...body });
    pools.push({ ...place, id: answer.body['pool-id'] as string });
  };
  const directory = async (type: 'local' | 'dedup', node: string, path = join(dir, 'pools', `${type}-${node}`)) => {
    const place = { name: `${type}-${node}`, type, node, path, prefix: null };
    await make(place, { node_id: node, path });
  };
  mkdirSync(join(dir, 'pools'), { recursive: true, mode: 0o700 });
  await directory('local', 'node-1');
  await directory('local', 'node-2');
  await directory('dedup', 'node-1');
  await directory('dedup', 'node-3', small === undefined ? undefined : join(small.path, 'dedup'));
  for (const name of ['s3-1', 's3-2']) {
    const { region, bucket, access_key, secret_key } = s3;
    const endpoint = await links.add(`nodes:${name}`, s3.endpoint);
    const body = { s3_scheme: 'other', endpoint, region, bucket, access_key, secret_key, https: false, prefix: `chaos/${name}` };
    await make({ name, type: 's3', node: null, path: null, prefix: `chaos/${name}` }, body);
  }
  const { body } = await api.ok('GET', '/nodes/node-3');
  const { hostname: host, port } = new URL(body.node.pool_endpoint as string);
  const exported = join(dir, 'node-3', 'exports', 'default');
  await make(
    { name: 'remote-node-3', type: 'remote', node: 'node-3', path: exported, prefix: null },
    { host, port: Number(port) },
  );
  return pools;
}
