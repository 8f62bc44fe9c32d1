/** Where a disk may come from and where it may go: the web, images, NBD servers, a block before it, a file that is there already. */
import { execFile } from 'node:child_process';
import { copyFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { missingPeers, nbdkitOnPort } from '@openservice/testkit';
import { expect } from 'chai';
import type { Job } from './api.ts';
import { fileDigest } from './disk.ts';
import { dedupPool } from './pairs.ts';
import { diskFile, imported, localPool, restoredFile } from './steps.ts';
import { type System, startSystem } from './system.ts';
import { startFlakyWeb } from './web.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;

describe('sources and targets of every kind', function () {
  this.timeout(120_000);
  let system: System;
  let pool: string;
  let local: string;

  before(async () => {
    system = await startSystem({ nodes: 1 });
    pool = await dedupPool(system);
    local = (await localPool(system)).id;
  });
  after(async () => system?.stop());

  /** The new block, and its import's job. */
  async function importOf(
    source: Record<string, unknown>,
    more: Record<string, unknown> = {},
  ): Promise<{ id: string; job: Job }> {
    const { body } = await system.api.ok('PUT', '/blocks', { name: 'from a source', pool_id: pool, source, ...more });
    return { id: body['block-id'], job: await system.api.succeeded(body['job-id']) };
  }
  const equals = async (id: string, path: string, from = pool) =>
    expect(await fileDigest(await restoredFile(system, id, from))).to.equal(await fileDigest(path));
  const fileOf = (path: string) => ({ type: 'file', node_id: 'node-1', path });

  async function change(path: string, offset: number): Promise<void> {
    const file = await open(path, 'r+');
    await file.write(Buffer.alloc(4096, 0xab), 0, 4096, offset);
    await file.close();
  }

  async function needs(context: Mocha.Context, ...peers: Parameters<typeof missingPeers>[0]): Promise<void> {
    const why = await missingPeers(peers);
    if (why === null) return;
    console.log(`      skipped: ${why}`);
    context.skip();
  }

  it('a web server that cuts connections in the middle of its answers gives the whole disk all the same', async () => {
    const path = await diskFile(system, 12, { tail: 4096 + 517, seed: 'web' });
    const web = await startFlakyWeb(path, 4);
    try {
      const { id } = await importOf({ type: 'http', url: web.url });
      expect(web.cut).to.equal(4);
      await equals(id, path);
    } finally {
      await web.close();
    }
  });

  it('a qcow2 image is known by its magic, and what is stored is the disk in it', async function () {
    await needs(this, 'qemu-img', 'qemu-nbd');
    const path = await diskFile(system, 9, { seed: 'qcow2' });
    const image = join(system.importRoot(1), 'disk.qcow2');
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', path, image]);
    const { id } = await importOf(fileOf(image));
    expect((await system.api.ok('GET', `/blocks/${id}`)).body.block.size).to.equal(9 * MIB);
    await equals(id, path);
  });

  it('a disk comes from an NBD server, goes onto another, and is the same when it comes back from there', async function () {
    await needs(this, 'nbdkit');
    const path = await diskFile(system, 9, { seed: 'nbd' });
    const from = await nbdkitOnPort(['--readonly', 'file', path]);
    const onto = await nbdkitOnPort(['memory', String(9 * MIB)]);
    try {
      const { id } = await importOf({ type: 'nbd', uri: from.uri });
      await equals(id, path);
      const restore = await system.api.ok('POST', `/blocks/${id}?action=restore`, { target: { type: 'nbd', uri: onto.uri } });
      await system.api.succeeded(restore.body['job-id']);
      const back = await importOf({ type: 'nbd', uri: onto.uri });
      const rootOf = async (block: string) => (await system.api.ok('GET', `/blocks/${block}`)).body.block.root_digest;
      expect(await rootOf(back.id)).to.equal(await rootOf(id));
    } finally {
      await Promise.all([from.stop(), onto.stop()]);
    }
  });

  it('an increment sends only the chunks that were named', async () => {
    const path = await diskFile(system, 12, { seed: 'increment' });
    const parent = await imported(system, pool, path);
    await change(path, 3 * MIB + 8192);
    const { id, job } = await importOf(fileOf(path), {
      parent_block_id: parent,
      changed_extents: [{ offset: 3 * MIB + 8192, length: 4096 }],
    });
    expect(job.result?.notes ?? []).to.deep.equal([]);
    // One chunk, a little compressed, and what a block has of its own.
    expect(job.bytes_sent).to.be.within(1_000_000, 2 * MIB);
    await equals(id, path);
  });

  it('a wrong list of changed extents is noticed: all is read, and the result says so', async () => {
    const path = await diskFile(system, 12, { seed: 'wrong list' });
    const parent = await imported(system, pool, path);
    await change(path, 6 * MIB);
    const { id, job } = await importOf(fileOf(path), { parent_block_id: parent, changed_extents: [{ offset: 0, length: 4096 }] });
    expect(job.result?.notes?.join(' ')).to.match(/Chunk 6 .*not among the changed extents.*all of the source was read/);
    await equals(id, path);
  });

  it('a restore with delta over an older state writes what differs, and nothing else', async () => {
    const path = await diskFile(system, 12, { seed: 'delta' });
    const id = await imported(system, local, path);
    const target = join(system.importRoot(1), 'older.img');
    await copyFile(path, target);
    await change(target, 4 * MIB);
    // Where the block has a hole.
    await change(target, 5 * MIB + 4096);
    const body = { delta: true, target: { type: 'file', node_id: 'node-1', path: target } };
    const { body: answer } = await system.api.ok('POST', `/blocks/${id}?action=restore`, body);
    const job = await system.api.succeeded(answer['job-id']);
    expect(await fileDigest(target)).to.equal(await fileDigest(path));
    expect(job.bytes_sent).to.be.within(MIB, 2 * MIB);
  });

  it('a limit of bandwidth is kept', async () => {
    const path = await diskFile(system, 9, { seed: 'slow' });
    const { job } = await importOf(fileOf(path), { bandwidth: 4 * MIB });
    const took = Date.parse(job.finished_at ?? '') - Date.parse(job.started_at ?? '');
    // Six MiB of data, the first quarter of a second for nothing: 1.25 s at the least.
    expect(took).to.be.within(1200, 20_000);
  });
});
