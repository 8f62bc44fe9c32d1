/**
 * A real S3 server from Debian's packages: Ceph's gateway over one monitor and one OSD, on the loopback, without TLS.
 *
 * `memory`: the objects are gone with the processes. `persistent`: the OSD is a BlueStore in one sparse file under
 * `dir`/s3, which a second start finds again, after SIGKILL too. The monitor's port is part of its own map: where the
 * port is taken at a later start, the map is written anew.
 */
import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TransientError } from '@openservice/domain';
import { Child } from './child.ts';
import { findBinary } from './paths.ts';
import { freePort } from './ports.ts';
import { httpAnswers, until } from './probe.ts';
import { remember, remembered } from './remembered.ts';
import type { S3Access, StartOptions } from './server.ts';
import { supervise } from './supervise.ts';

export const CEPH_PROGRAMS = ['ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin', 'ceph', 'monmaptool'];
export const CEPH_PACKAGES = ['radosgw', 'ceph-mon', 'ceph-osd', 'ceph-common'];
export const hasRadosgw = (): boolean => CEPH_PROGRAMS.every((program) => findBinary(program) !== undefined);

const run = promisify(execFile);
const STORE_BYTES = 1024 ** 4;
const MEMORY_BYTES = 8 * 1024 ** 3;

interface Facts {
  port: number;
  monPort: number;
  fsid: string;
  osd: string;
  access_key: string;
  secret_key: string;
  /** Monitor, OSD and user are made: a later start only starts. */
  made: boolean;
}

export async function startRadosgw(
  options: StartOptions & { mode: 'memory' | 'persistent' },
): Promise<{ access: Omit<S3Access, 'bucket'>; children: Child[] }> {
  const home = join(options.dir, 's3');
  const factsFile = join(home, 'facts.json');
  let kept = options.mode === 'persistent' ? remembered<Facts>(factsFile) : {};
  if (kept.made !== true) {
    // Half made is not made: nothing was ever stored in it.
    rmSync(home, { recursive: true, force: true });
    kept = {};
  }
  for (const folder of ['mon', 'osd', 'rgw', 'log', 'run']) mkdirSync(join(home, folder), { recursive: true, mode: 0o700 });
  const facts: Facts = {
    port: await freePort(kept.port),
    monPort: await freePort(kept.monPort),
    fsid: kept.fsid ?? randomUUID(),
    osd: kept.osd ?? randomUUID(),
    access_key: kept.access_key ?? `OS${randomBytes(9).toString('hex').toUpperCase()}`,
    secret_key: kept.secret_key ?? randomBytes(20).toString('hex'),
    made: kept.made ?? false,
  };
  const conf = join(home, 'ceph.conf');
  writeFileSync(conf, configuration(home, facts, options.mode), { mode: 0o600 });
  const endpoint = `http://127.0.0.1:${facts.port}`;
  const ceph = (program: string, ...args: string[]) =>
    run(findBinary(program) ?? program, ['-c', conf, ...args], { timeout: 30_000 });

  const child = (name: string, program: string, args: string[], ready: () => Promise<boolean>, readyLimitMs: number) =>
    new Child({
      name,
      dir: options.dir,
      command: findBinary(program) ?? program,
      args: ['-c', conf, '-f', ...args],
      ready,
      readyLimitMs,
      stopLimitMs: 8_000,
    });
  const started = async () => true;
  const mon = child('s3-mon', 'ceph-mon', ['-i', 'a'], started, 1_000);
  const osd = child('s3-osd', 'ceph-osd', ['-i', '0'], started, 1_000);
  const gateway = child('s3', 'radosgw', ['-n', 'client.rgw'], () => httpAnswers(endpoint), 120_000);
  const children = [mon, osd, gateway];

  try {
    if (!facts.made || kept.monPort !== facts.monPort) {
      const map = join(home, 'monmap');
      const at = ['--create', '--clobber', '--fsid', facts.fsid, '--addv', 'a', `v1:127.0.0.1:${facts.monPort}`, map];
      await run(findBinary('monmaptool') ?? 'monmaptool', at);
      if (facts.made) await ceph('ceph-mon', '-i', 'a', '--inject-monmap', map);
      else await ceph('ceph-mon', '--mkfs', '-i', 'a', '--monmap', map);
    }
    await mon.start(options.signal);
    if (!facts.made) {
      // The monitor refuses commands in its first moments.
      let last = '';
      const known = await until(
        async () =>
          ceph('ceph', 'osd', 'new', facts.osd, '0').then(
            () => true,
            (error: Error) => {
              last = error.message;
              return false;
            },
          ),
        { limitMs: 60_000, everyMs: 50, signal: options.signal },
      );
      if (!known) throw new TransientError('server_not_started', `Ceph's monitor took no commands; see ${mon.logFile}. ${last}`);
      await ceph('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', facts.osd);
    }
    // An OSD whose first words reach the monitor too early is told "wrong fsid" and ends: it is started again.
    const calm = supervise(osd);
    try {
      await osd.start(options.signal);
      await gateway.start(options.signal);
    } finally {
      calm();
    }
    if (!facts.made) {
      const keys = [`--access-key=${facts.access_key}`, `--secret=${facts.secret_key}`];
      await ceph('radosgw-admin', 'user', 'create', '--uid=openservice', '--display-name=openservice', ...keys);
    }
    remember(factsFile, { ...facts, made: true });
  } catch (error) {
    for (const one of [...children].reverse()) await one.stop();
    throw error;
  }
  return { access: { endpoint, region: 'us-east-1', access_key: facts.access_key, secret_key: facts.secret_key }, children };
}

function configuration(home: string, facts: Facts, mode: 'memory' | 'persistent'): string {
  const store =
    mode === 'memory'
      ? `osd objectstore = memstore\nmemstore device bytes = ${MEMORY_BYTES}`
      : `osd objectstore = bluestore\nbluestore block create = true\nbluestore block size = ${STORE_BYTES}
bluestore block preallocate file = false\nosd memory target = 939524096`;
  return `[global]
fsid = ${facts.fsid}
mon host = v1:127.0.0.1:${facts.monPort}
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 1
osd crush chooseleaf type = 0
run dir = ${home}/run
admin socket =
log file = ${home}/log/$name.log
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
paxos propose interval = 0.05
paxos min wait = 0.01
[mon.a]
mon data = ${home}/mon
[osd.0]
osd data = ${home}/osd
${store}
[client.rgw]
rgw data = ${home}/rgw
rgw frontends = beast endpoint=127.0.0.1:${facts.port} tcp_nodelay=1
rgw dns name = localhost
`;
}
