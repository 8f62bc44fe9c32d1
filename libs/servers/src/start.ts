import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { composeWorks } from './compose.ts';
import { endLeftovers } from './leftovers.ts';
import { mysqlBinary, startMysql } from './mysql.ts';
import { natsBinary, startNats } from './nats.ts';
import { canInstall, installPackages } from './packages.ts';
import { CEPH_PACKAGES, hasRadosgw } from './radosgw.ts';
import { redisBinary, startRedis } from './redis.ts';
import { startS3 } from './s3.ts';
import { type S3Access, SERVER_NAMES, type Server, type ServerName, type StartOptions } from './server.ts';

export interface Servers {
  mysql?: Server<{ url: string }>;
  redis?: Server<{ url: string }>;
  nats?: Server<{ url: string }>;
  s3?: Server<S3Access>;
  /** Those above, in the order of a start. */
  all: Server<unknown>[];
  /** NATS, Redis, MySQL, S3, one after the other. */
  stop(): Promise<void>;
}

const NEEDS: Record<ServerName, { variable: string; here: () => boolean; packages: string[]; called: string }> = {
  mysql: {
    variable: 'OPENSERVICE_MYSQL_URL',
    here: () => mysqlBinary() !== undefined,
    packages: ['mariadb-server'],
    called: 'MariaDB or MySQL',
  },
  redis: {
    variable: 'OPENSERVICE_REDIS_URL',
    here: () => redisBinary() !== undefined,
    packages: ['redis-server'],
    called: 'Redis',
  },
  nats: { variable: 'OPENSERVICE_NATS_URL', here: () => natsBinary() !== undefined, packages: ['nats-server'], called: 'NATS' },
  s3: { variable: 'OPENSERVICE_S3_ENDPOINT', here: hasRadosgw, packages: CEPH_PACKAGES, called: "Ceph's radosgw" },
};

/** Installs what is missing where it may. Throws PermanentError `server_missing` that says what to install. */
async function bring(which: readonly ServerName[], options: StartOptions): Promise<void> {
  const missing = which.filter((name) => (process.env[NEEDS[name].variable] ?? '') === '' && !NEEDS[name].here());
  // Compose carries the three that must be there; S3 has s3rver where neither Ceph nor apt-get is at hand.
  const needed = missing.filter((name) => name === 's3' || !composeWorks());
  if (needed.length === 0) return;
  if (canInstall()) {
    const log = options.log ?? (() => undefined);
    const must = needed.filter((name) => name !== 's3').flatMap((name) => NEEDS[name].packages);
    if (must.length > 0) await installPackages(must, log, options.signal);
    if (needed.includes('s3')) {
      // s3rver stands in where Ceph's packages cannot be had; that is said when it starts.
      await installPackages(CEPH_PACKAGES, log, options.signal).catch((error: Error) => log(error.message));
    }
  }
  const lacking = needed.filter((name) => name !== 's3' && !NEEDS[name].here());
  if (lacking.length === 0) return;
  const called = lacking.map((name) => NEEDS[name].called).join(', ');
  const packages = lacking.flatMap((name) => NEEDS[name].packages).join(' ');
  const variables = lacking.map((name) => NEEDS[name].variable).join(', ');
  throw new PermanentError(
    'server_missing',
    `Not found here: ${called}. Install them (Debian: apt-get install ${packages}), start Docker, or set ${variables}.`,
  );
}

/**
 * Finds or brings the servers named, all at once, with their data under `dir`. Each is looked for in this order: its
 * URL in the environment, its binary on this machine, Docker Compose, apt-get. When one fails none is left running.
 */
export async function startServers(
  options: StartOptions & { which?: readonly ServerName[]; s3Mode?: 'memory' | 'persistent' },
): Promise<Servers> {
  const dir = resolve(options.dir);
  const which = options.which ?? SERVER_NAMES;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  await endLeftovers(dir);
  await bring(which, options);

  const servers: Servers = { all: [], stop: () => stopAll(servers) };
  const given: StartOptions = { ...options, dir };
  const starts: Record<ServerName, () => Promise<void>> = {
    mysql: async () => {
      servers.mysql = await startMysql(given);
    },
    redis: async () => {
      servers.redis = await startRedis(given);
    },
    nats: async () => {
      servers.nats = await startNats(given);
    },
    s3: async () => {
      servers.s3 = await startS3({ ...given, ...(options.s3Mode === undefined ? {} : { mode: options.s3Mode }) });
    },
  };
  const outcomes = await Promise.allSettled(which.map((name) => starts[name]()));
  servers.all = SERVER_NAMES.map((name) => servers[name]).filter((server) => server !== undefined);
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) {
    await servers.stop();
    throw failed.reason;
  }
  return servers;
}

async function stopAll(servers: Servers): Promise<void> {
  for (const name of ['nats', 'redis', 'mysql', 's3'] as const) await servers[name]?.stop();
}
