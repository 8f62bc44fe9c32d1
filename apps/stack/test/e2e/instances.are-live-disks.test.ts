/** A block from any pool is a live disk: read, written, kept over a killed node, saved, rewound, taken away. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { dedupPool, remotePool } from './pairs.ts';
import { diskFile, imported, localPool, restoredFile, s3Pool } from './steps.ts';
import { type System, startSystem } from './system.ts';

const exec = promisify(execFile);

interface Disk {
  uri: string;
  unix_uri: string;
  block_id: string;
  size: number;
  overlay_bytes: number;
}

describe('instances are live disks', function () {
  this.timeout(120_000);
  let system: System;
  let pools: Record<string, string>;
  let path: string;
  let digest: string;

  before(needsPeers('nbdcopy', 'nbdinfo', 'qemu-io'));
  before(async () => {
    system = await startSystem({ nodes: 2 });
    pools = {
      local: (await localPool(system, 1)).id,
      dedup: await dedupPool(system, 1),
      s3: await s3Pool(system),
      remote: await remotePool(system, 2),
    };
    path = await diskFile(system, 20, { tail: 4096 + 517, seed: 'instances' });
    digest = await fileDigest(path);
  });
  after(async () => system?.stop());

  async function load(body: Record<string, unknown>): Promise<{ id: string; disks: Disk[] }> {
    const { body: answer } = await system.api.ok('PUT', '/cdm_instances', { node_id: 'node-1', ...body });
    await system.api.succeeded(answer['job-id']);
    return { id: answer['ins-id'], disks: await disksOf(answer['ins-id']) };
  }

  async function disksOf(id: string): Promise<Disk[]> {
    const { body } = await system.api.ok('GET', `/cdm_instances/${id}`);
    expect(body.cdm_instance.state).to.equal('loaded');
    return body.cdm_instance.disks;
  }

  async function remove(id: string, query = ''): Promise<string[]> {
    const { body } = await system.api.ok('DELETE', `/cdm_instances/${id}${query}`);
    await system.api.succeeded(body['job-id']);
    return body['block-ids'] ?? [];
  }

  const io = async (uri: string, ...commands: string[]): Promise<void> => {
    const { stdout } = await exec('qemu-io', ['-f', 'raw', '-t', 'none', ...commands.flatMap((one) => ['-c', one]), uri]);
    if (/fail|error/i.test(stdout)) throw new Error(stdout);
  };

  async function content(uri: string): Promise<string> {
    const out = `${path}.out`;
    await exec('nbdcopy', [uri, out]);
    return fileDigest(out);
  }

  for (const type of ['local', 'dedup', 's3', 'remote']) {
    it(`${type}: read as it is, written, kept over a killed node, saved, rewound`, async () => {
      const blockId = await imported(system, pools[type]!, path);
      const { id, disks } = await load({ block_id: blockId, name: `live-${type}` });
      const disk = disks[0]!;
      expect(await content(disk.uri)).to.equal(digest);
      expect(await content(disk.unix_uri)).to.equal(digest);
      await io(disk.uri, 'write -P 0xaa 1000 70000', 'write -z 5M 1M', 'discard 8M 1M', 'flush', 'read -P 0xaa 1000 70000');
      await system.nodes[0]!.kill();
      system.nodes[0]!.start();
      await system.ready();
      await io(disk.uri, 'read -P 0xaa 1000 70000', 'read -P 0 5M 1M', 'read -P 0 8M 1M');
      const { body } = await system.api.ok('POST', `/cdm_instances/${id}?action=save`, { name: `saved-${type}` });
      await system.api.succeeded(body['job-id']);
      const saved = await restoredFile(system, body['block-ids'][0], pools[type]!);
      const bytes = await readFile(saved);
      const was = await readFile(path);
      was
        .fill(0xaa, 1000, 71_000)
        .fill(0, 5 << 20, 6 << 20)
        .fill(0, 8 << 20, 9 << 20);
      expect(bytes.equals(was)).to.equal(true);
      const refused = await system.api.delete(`/blocks/${blockId}`);
      expect(refused.status).to.equal(409);
      expect(refused.body.instance_id).to.equal(id);
      const rewind = await system.api.ok('POST', `/cdm_instances/${id}?action=rewind`, {});
      await system.api.succeeded(rewind.body['job-id']);
      expect(await content(disk.uri)).to.equal(digest);
      await remove(id);
      expect((await system.api.delete(`/blocks/${blockId}?purge=true`)).status).to.equal(202);
    });
  }
});
