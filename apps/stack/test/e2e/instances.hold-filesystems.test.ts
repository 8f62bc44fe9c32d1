/** A real filesystem in a live disk: read out of it, changed in it, saved, and found clean by those who made it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findBinary } from '@openservice/servers';
import { needsPeers, waitFor } from '@openservice/testkit';
import { expect } from 'chai';
import { acted, exec, type Live, loaded, removed } from './live.ts';
import { dedupPool } from './pairs.ts';
import { imported, restoredFile, s3Pool } from './steps.ts';
import { type System, startSystem } from './system.ts';

const SIZE_MIB = 96;

describe('a filesystem in an instance', function () {
  this.timeout(180_000);
  let system: System;
  let pool: string;
  let live: Live;
  let image: string;
  let folder: string;

  before(needsPeers('qemu-img', 'nbdcopy', 'mke2fs', 'e2fsck', 'debugfs'));
  before(async () => {
    system = await startSystem({ nodes: 1 });
    pool = await dedupPool(system);
    folder = join(system.importRoot(1), 'files');
    await mkdir(folder);
    for (let i = 0; i < 200; i++) await writeFile(join(folder, `file-${i}`), Buffer.alloc(10_000 + i * 997, `file ${i} `));
    image = join(system.importRoot(1), 'ext4.img');
    await exec('mke2fs', ['-q', '-t', 'ext4', '-d', folder, image, `${SIZE_MIB}M`]);
    live = await loaded(system, { block_id: await imported(system, pool, image), name: 'ext4' });
  });
  after(async () => system?.stop());

  /** e2fsck ends with 0 where nothing at all is wrong. */
  const isClean = (path: string) => exec('e2fsck', ['-fn', path]);
  const debugfs = async (path: string, ...words: string[]): Promise<string> =>
    (await exec('debugfs', ['-R', words.join(' '), path], { encoding: 'latin1' })).stdout;

  async function holdsAll(path: string): Promise<void> {
    await isClean(path);
    for (const i of [0, 99, 199])
      expect(await debugfs(path, 'cat', `/file-${i}`)).to.equal(await readFile(join(folder, `file-${i}`), 'latin1'));
  }

  async function saved(): Promise<string> {
    const { jobId, blocks } = await acted(system, live.id, 'save', { pool_id: await s3Pool(system) });
    await system.api.succeeded(jobId);
    const { body } = await system.api.ok('GET', `/blocks/${blocks[0]}`);
    return restoredFile(system, blocks[0]!, body.block.replicas[0].pool_id);
  }

  it('is converted out of it by qemu-img, and clean', async () => {
    const out = `${image}.qcow2`;
    await exec('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', live.disks[0].uri, out]);
    await exec('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', out, image]);
    await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', out, `${image}.raw`]);
    await holdsAll(`${image}.raw`);
  });

  it('is copied out, changed, copied in again whole, and saved', async () => {
    const out = `${image}.changed`;
    await exec('nbdcopy', [live.disks[0].uri, out]);
    await writeFile(join(system.dir, 'copied'), Buffer.alloc(300_000, 'copied '));
    await exec('debugfs', ['-w', '-R', `write ${join(system.dir, 'copied')} copied`, out]);
    await exec('nbdcopy', ['--flush', out, live.disks[0].unix_uri]);
    const back = await saved();
    await holdsAll(back);
    expect(await debugfs(back, 'cat', '/copied')).to.equal(await readFile(join(system.dir, 'copied'), 'latin1'));
    expect((await readFile(back)).equals(await readFile(out))).to.equal(true);
  });

  it('is changed in place through nbdfuse, also across a killed node, and saved', async function () {
    const missing = await whyNoFuse();
    if (missing !== null) {
      this.test!.title += ` (${missing})`;
      this.skip();
    }
    for (const name of ['first', 'second']) {
      await writeFile(join(system.dir, name), Buffer.alloc(500_000, `${name} `));
      const mount = await mounted(live.disks[0].unix_uri, join(system.dir, `mount-${name}`));
      await exec('debugfs', ['-w', '-R', `write ${join(system.dir, name)} ${name}`, mount.disk]);
      await exec('sync', [mount.disk]);
      await mount.end();
      await system.nodes[0]!.restart();
      await system.ready();
    }
    const back = await saved();
    await holdsAll(back);
    for (const name of ['first', 'second'])
      expect(await debugfs(back, 'cat', `/${name}`)).to.equal(await readFile(join(system.dir, name), 'latin1'));
    await removed(system, live.id);
  });

  async function whyNoFuse(): Promise<string | null> {
    if (findBinary('nbdfuse') === undefined) return 'nbdfuse is not there; libnbd-bin brings it';
    const there = await stat('/dev/fuse').catch(() => null);
    if (there === null) return 'there is no /dev/fuse';
    return process.getuid?.() === 0 ? null : 'only root may mount here';
  }

  async function mounted(uri: string, folder: string): Promise<{ disk: string; end: () => Promise<void> }> {
    await mkdir(folder);
    const disk = join(folder, 'disk.img');
    const child = spawn('nbdfuse', [disk, uri], { stdio: ['ignore', 'ignore', 'pipe'] });
    let words = '';
    child.stderr.on('data', (bytes) => {
      words += bytes;
    });
    const ended = once(child, 'exit');
    await waitFor(`nbdfuse to mount ${disk}`, async () => {
      if (child.exitCode !== null) throw new Error(`nbdfuse ended: ${words}`);
      return (await stat(disk).catch(() => null))?.size === SIZE_MIB * 1024 * 1024;
    });
    return {
      disk,
      async end() {
        await exec('umount', [folder]);
        await ended;
      },
    };
  }
});
