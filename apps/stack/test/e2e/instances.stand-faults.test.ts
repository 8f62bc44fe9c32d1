/** Pools that go away, disks that are full, and what is refused while a block is in use. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { needsPeers, type Proxy as Relay, startProxy } from '@openservice/testkit';
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { acted, content, exec, io, ioFails, type Live, loaded, removed, shown } from './live.ts';
import { dedupPool } from './pairs.ts';
import { diskFile, imported, localPool, s3Pool, startAction } from './steps.ts';
import { type System, startSystem } from './system.ts';

/** ms that a read may wait for its pool before its client gets an error: the node's patience, and a margin for a busy machine. */
const MOST_WAIT_MS = 40_000;

/** nbdsh runs the first python3 there; the module is that of the distribution's. */
const DEBIAN_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

describe('instances stand faults', function () {
  this.timeout(180_000);
  let system: System;
  let proxy: Relay;
  let local: string;
  let far: string;
  let path: string;
  let digest: string;

  before(needsPeers('qemu-io', 'nbdcopy', 'nbdinfo', 'nbdsh'));
  before(async () => {
    system = await startSystem({ nodes: 2 });
    proxy = await startProxy(system.servers.s3.endpoint);
    local = (await localPool(system)).id;
    far = await s3Pool(system, proxy.url);
    path = await diskFile(system, 24, { tail: 512, seed: 'faults' });
    digest = await fileDigest(path);
  });
  after(async () => {
    await system?.stop();
    await proxy?.close();
  });

  afterEach(() => {
    proxy.drop(false);
    proxy.allow();
    proxy.delay(0);
  });

  const code = async (answer: Promise<{ status: number; body: { code?: string; instance_id?: string } }>) => {
    const { status, body } = await answer;
    return { status, code: body.code, instance_id: body.instance_id };
  };

  it('a pool that goes away: an I/O error in good time, other exports go on, reads succeed once it is back', async () => {
    const away = await loaded(system, { block_id: await imported(system, far, path) });
    const other = await loaded(system, { block_id: await imported(system, local, path) });
    await io(away.disks[0].uri, 'write -P 0x77 0 65536', 'flush');
    for (const [gone, place] of [
      [() => proxy.refuse(), '9M'],
      [() => proxy.drop(true), '15M'],
    ] as const) {
      gone();
      const began = performance.now();
      expect(await ioFails(away.disks[0].uri, `read ${place} 64k`)).to.match(/Input\/output error/);
      expect(performance.now() - began).to.be.below(MOST_WAIT_MS);
      // What was written needs no base, and the others know nothing of it.
      await io(away.disks[0].uri, 'read -P 0x77 0 65536', 'write -P 0x78 1M 65536', 'flush', 'read -P 0x78 1M 65536');
      expect(await content(other.disks[0].uri, `${path}.other`)).to.equal(digest);
      const { body } = await system.api.ok('GET', `/cdm_instances/${away.id}`);
      expect(body.cdm_instance.state).to.equal('error');
      expect(body.cdm_instance.error.message).to.contain(far);
      proxy.drop(false);
      proxy.allow();
      proxy.cut();
      const back = await shown(system, away.id);
      await io(back.disks[0].uri, `read ${place} 64k`, 'read -P 0x78 1M 65536');
    }
    await removed(system, other.id);
    await removed(system, away.id);
  });

  it('hydrated while it is used, it needs the far pool no more', async () => {
    const blockId = await imported(system, far, path);
    const live = await loaded(system, { block_id: blockId });
    const near = await dedupPool(system);
    const { jobId } = await acted(system, live.id, 'hydrate', { pool_id: near });
    let rounds = 0;
    let over = false;
    const client = (async () => {
      for (; !over || rounds === 0; rounds++) {
        const at = (rounds % 20) * 1_100_001;
        await io(
          live.disks[0].uri,
          `write -P ${1 + (rounds % 200)} ${at} 70000`,
          'flush',
          `read -P ${1 + (rounds % 200)} ${at} 70000`,
          'read 0 1M',
        );
      }
    })();
    await Promise.all([client, system.api.succeeded(jobId).finally(() => (over = true))]);
    proxy.refuse();
    try {
      const after = await shown(system, live.id);
      expect(after.disks[0].pool_id).to.equal(near);
      // What no client has asked for yet, and what one wrote.
      await io(after.disks[0].uri, 'read 0 24M', `read -P ${1 + ((rounds - 1) % 200)} ${((rounds - 1) % 20) * 1_100_001} 70000`);
      await system.nodes[0]!.restart();
      await system.ready();
      await io(after.disks[0].uri, 'read 0 24M', `read -P ${1 + ((rounds - 1) % 200)} ${((rounds - 1) % 20) * 1_100_001} 70000`);
    } finally {
      proxy.allow();
    }
    await removed(system, live.id);
  });

  it('a hydrate that fails leaves the instance as it was', async () => {
    const live = await loaded(system, { block_id: await imported(system, far, path) });
    await io(live.disks[0].uri, 'write -P 0x66 1000 70000', 'flush');
    const near = (await localPool(system)).id;
    proxy.delay(200);
    const { jobId } = await acted(system, live.id, 'hydrate', { pool_id: near, bandwidth: 1_000_000 });
    await system.api.jobWhen(jobId, (job) => job.state === 'running');
    await system.api.ok('POST', `/jobs/${jobId}?action=cancel`, {});
    expect((await system.api.ended(jobId)).state).to.equal('cancelled');
    proxy.delay(0);
    const after = await shown(system, live.id);
    expect(after.disks[0].pool_id).to.equal(far);
    await io(after.disks[0].uri, 'read -P 0x66 1000 70000', 'read 0 24M');
    await removed(system, live.id);
  });

  it('a set is loaded as a whole or not at all', async () => {
    const { body: made } = await system.api.ok('PUT', '/sets', { name: 'two disks' });
    const blocks: string[] = [];
    for (const pool of [local, far]) {
      const { body } = await system.api.ok('PUT', '/blocks', {
        name: `of ${pool}`,
        set_id: made['set-id'],
        pool_id: pool,
        source: { type: 'file', node_id: 'node-1', path },
      });
      await system.api.succeeded(body['job-id']);
      blocks.push(body['block-id']);
    }
    const set = { set_id: made['set-id'], name: 'both' };
    proxy.refuse();
    const { body: doomed } = await system.api.ok('PUT', '/cdm_instances', { node_id: 'node-1', ...set });
    await system.api.jobWhen(doomed['job-id'], (job) => job.attempt > 1 || job.error !== null, 90_000);
    const { body: node } = await system.api.ok('GET', '/nodes/node-1');
    const { stdout: none } = await exec('nbdinfo', ['--list', '--json', node.node.nbd_endpoint]).catch((error) => error);
    expect(none).not.to.contain(doomed['ins-id']);
    await system.api.ok('POST', `/jobs/${doomed['job-id']}?action=cancel`, {});
    await system.api.ended(doomed['job-id']);
    expect((await system.api.get(`/cdm_instances/${doomed['ins-id']}`)).status).to.equal(404);
    proxy.allow();

    const live = await loaded(system, set);
    expect(live.disks.map((disk) => disk.block_id)).to.have.members(blocks);
    for (const [index, disk] of live.disks.entries()) {
      expect(disk.uri).to.match(new RegExp(`/${live.id}/${index}$`));
      await io(disk.uri.replace(live.id, 'both'), `write -P ${index + 1} 0 4096`, 'flush');
    }
    const { jobId, blocks: saved } = await acted(system, live.id, 'save', { pool_id: local });
    await system.api.succeeded(jobId);
    expect(saved).to.have.length(2);
    const again = await loaded(system, { block_id: saved[1], read_only: true });
    await exec('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 2 0 4096', again.disks[0].uri]).then(({ stdout }) =>
      expect(stdout).not.to.match(/fail/i),
    );
    await removed(system, again.id);
    await removed(system, live.id);
  });

  it('a block in use stays where it is: 409 that says which instance', async () => {
    const blockId = await imported(system, local, path);
    await system.api.succeeded(await startAction(system, blockId, 'upload', { pool_id: far }));
    const live = await loaded(system, { block_id: blockId, from_pool_id: local });
    const inUse = { status: 409, code: 'block_in_use', instance_id: live.id };
    const { api } = system;
    expect(await code(api.delete(`/blocks/${blockId}`))).to.deep.equal(inUse);
    expect(await code(api.delete(`/blocks/${blockId}?purge=true`))).to.deep.equal(inUse);
    expect(await code(api.delete(`/blocks/${blockId}?pool_id=${local}`))).to.deep.equal(inUse);
    const move = { from_pool_id: local, pool_id: (await localPool(system)).id };
    expect(await code(api.post(`/blocks/${blockId}?action=move`, move))).to.deep.equal(inUse);
    // The replica that it does not read may go.
    const other = await api.ok('DELETE', `/blocks/${blockId}?pool_id=${far}`);
    await api.succeeded(other.body['job-id']);
    await removed(system, live.id);
    expect((await api.delete(`/blocks/${blockId}`)).status).to.equal(202);
  });

  it('two nodes serve the same block, each its own disk; a read-only one refuses writes', async () => {
    const blockId = await imported(system, local, path);
    const [one, two] = [
      await loaded(system, { block_id: blockId }),
      await loaded(system, { block_id: blockId, node_id: 'node-2' }),
    ];
    const fixed = await loaded(system, { block_id: blockId, node_id: 'node-2', read_only: true });
    await Promise.all([one, two].map(({ disks }, i) => io(disks[0].uri, `write -P ${i + 1} 5000 70000`, 'flush')));
    await Promise.all([one, two].map(({ disks }, i) => io(disks[0].unix_uri, `read -P ${i + 1} 5000 70000`)));
    expect(await content(fixed.disks[0].uri, `${path}.fixed`)).to.equal(digest);
    const script = [
      'h.set_strict_mode(0)',
      `h.connect_uri("${fixed.disks[0].uri}")`,
      'for call in (lambda: h.pwrite(b"x"*512, 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)):',
      '    try:',
      '        call(); print("written")',
      '    except nbd.Error as error:',
      '        print(error.errno)',
    ].join('\n');
    const { stdout } = await exec('nbdsh', ['-c', script], { env: { ...process.env, PATH: DEBIAN_PATH } });
    expect(stdout.trim().split('\n')).to.deep.equal(['EPERM', 'EPERM', 'EPERM']);
    const save = await system.api.post(`/cdm_instances/${fixed.id}?action=save`, {});
    expect(save.body.code).to.equal('instance_read_only');
    for (const { id } of [one, two, fixed]) await removed(system, id);
  });

  it('the map of a disk is that of its block', async () => {
    const live = await loaded(system, { block_id: await imported(system, local, path) });
    const { stdout } = await exec('nbdinfo', ['--map', '--json', live.disks[0].uri]);
    const holes = (JSON.parse(stdout) as { offset: number; length: number; type: number }[])
      .filter(({ type }) => type === 3)
      .map(({ offset, length }) => [offset, length]);
    // Each third MiB is a hole, and so is the tail, which touches the last of them.
    const MIB = 1024 * 1024;
    const expected = Array.from({ length: 8 }, (_, i) => [(3 * i + 2) * MIB, i === 7 ? MIB + 512 : MIB]);
    expect(holes).to.deep.equal(expected);
    await removed(system, live.id);
  });

  describe('on a small disk', () => {
    let folder: string;
    let mounted = false;
    before(async function () {
      folder = join(system.dir, 'node-1/instances');
      await mkdir(folder, { recursive: true });
      try {
        await exec('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder]);
        mounted = true;
      } catch (error) {
        for (const test of this.test?.parent?.tests ?? [])
          test.title += ` (no filesystem can be mounted here: ${(error as Error).message})`;
        this.skip();
      }
    });
    after(async () => {
      if (!mounted) return;
      await system.nodes[0]!.kill();
      await exec('umount', [folder]);
      system.nodes[0]!.start();
      await system.ready();
    });

    it('that is full: "no space" to the client, and what was flushed stays, also through a kill', async () => {
      const live: Live = await loaded(system, { block_id: await imported(system, local, path) });
      const { uri } = live.disks[0];
      await io(uri, 'write -P 0x31 0 4M', 'flush');
      expect(await ioFails(uri, 'write -P 0x32 8M 8M', 'flush')).to.match(/No space left/);
      await io(uri, 'read -P 0x31 0 4M');
      const clean = await readFile(path);
      expect(clean.length).to.be.greaterThan(0);
      await system.nodes[0]!.restart();
      await system.ready();
      await io(uri, 'read -P 0x31 0 4M');
      // What is given back can be written again.
      await io(uri, 'discard 8M 8M', 'flush', 'write -P 0x33 20M 512k', 'flush', 'read -P 0x33 20M 512k', 'read -P 0x31 0 4M');
      await system.api.succeeded((await acted(system, live.id, 'rewind')).jobId);
      expect(await content(uri, `${path}.full`)).to.equal(digest);
      await removed(system, live.id);
    });
  });
});
