/** What is deleted can be had back, what is purged frees its room, and what rots is found by name and mended. */
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { dedupPool } from './pairs.ts';
import { deleted, diskFile, done, imported, restoredFile, startAction } from './steps.ts';
import { type System, startSystem } from './system.ts';

const MIB = 1024 * 1024;

describe('deleted and damaged blocks', function () {
  this.timeout(120_000);
  let system: System;

  before(async () => {
    system = await startSystem({ nodes: 1 });
  });
  after(async () => system?.stop());

  const stateOf = async (id: string) => (await system.api.ok('GET', `/blocks/${id}`)).body.block;
  const dirOf = async (pool: string): Promise<string> => (await system.api.ok('GET', `/pools/${pool}`)).body.pool.path;

  async function files(dir: string): Promise<{ path: string; size: number }[]> {
    const entries = await readdir(dir, { recursive: true, withFileTypes: true });
    const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    return Promise.all(paths.map(async (path) => ({ path, size: (await stat(path)).size })));
  }
  const sizeOf = async (dir: string): Promise<number> => (await files(dir)).reduce((sum, { size }) => sum + size, 0);

  /** One bit, in the middle of the pool's largest pack. */
  async function flipIn(pool: string): Promise<void> {
    const packs = await files(join(await dirOf(pool), 'packs'));
    const { path, size } = packs.reduce((a, b) => (b.size > a.size ? b : a));
    const file = await open(path, 'r+');
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, size >> 1);
    await file.write(Buffer.from([byte[0]! ^ 1]), 0, 1, size >> 1);
    await file.sync();
    await file.close();
  }

  it('a deleted block is out of sight, keeps its bytes through a collection, and comes back equal', async () => {
    const pool = await dedupPool(system);
    const path = await diskFile(system, 12, { seed: 'kept' });
    const id = await imported(system, pool, path);
    await deleted(system, id);
    expect((await stateOf(id)).state).to.equal('trashed');
    const listed = (await system.api.ok('GET', `/blocks?pool_id=${pool}`)).body.blocks as { id: string }[];
    expect(listed).to.deep.equal([]);
    const again = await system.api.delete(`/blocks/${id}`);
    expect([again.status, again.body.code]).to.deep.equal([409, 'block_not_available']);
    await done(system, 'pools', pool, 'gc');
    await done(system, 'blocks', id, 'undelete');
    expect((await stateOf(id)).state).to.equal('available');
    expect(await fileDigest(await restoredFile(system, id, pool))).to.equal(await fileDigest(path));
  });

  it('a purged block is gone for good; the next collection frees its room and says how much, and the others stay', async () => {
    const pool = await dedupPool(system);
    const [going, staying] = [await diskFile(system, 12, { seed: 'going' }), await diskFile(system, 6, { seed: 'staying' })];
    const [gone, stays] = [await imported(system, pool, going), await imported(system, pool, staying)];
    const before = await sizeOf(await dirOf(pool));
    await deleted(system, gone);
    await deleted(system, gone, { purge: true });
    expect((await system.api.get(`/blocks/${gone}`)).status).to.equal(404);
    expect((await system.api.post(`/blocks/${gone}?action=undelete`, {})).body.code).to.equal('block_not_found');
    const job = await done(system, 'pools', pool, 'gc');
    expect(job.result?.summary?.freed_bytes).to.be.at.least(8 * MIB);
    const after = await sizeOf(await dirOf(pool));
    expect(before - after).to.be.at.least(8 * MIB);
    expect((await system.api.ok('GET', `/pools/${pool}`)).body.pool.block_count).to.equal(1);
    expect(await fileDigest(await restoredFile(system, stays, pool))).to.equal(await fileDigest(staying));
  });

  it('a flipped bit is found by block, mended from the other replica, and gone then', async () => {
    const [bad, good] = [await dedupPool(system), await dedupPool(system)];
    const path = await diskFile(system, 12, { seed: 'rotten' });
    const id = await imported(system, bad, path);
    await system.api.succeeded(await startAction(system, id, 'upload', { pool_id: good }));
    await flipIn(bad);

    const swept = (await done(system, 'pools', bad, 'verify', { sample: 1 })).result;
    expect(swept?.damage.map(({ pool_id, block_id }) => [pool_id, block_id])).to.deep.equal([[bad, id]]);
    expect(swept?.verified).to.equal(false);

    const found = (await done(system, 'blocks', id, 'verify')).result;
    expect(found?.damage.map(({ pool_id }) => pool_id)).to.deep.equal([bad]);
    expect(found?.damage[0]?.message).to.match(/^Bytes \d+ to \d+ .*damaged/);
    const states = () =>
      stateOf(id).then(({ replicas }) => new Map(replicas.map((r: { pool_id: string; state: string }) => [r.pool_id, r.state])));
    expect((await states()).get(bad)).to.equal('damaged');
    expect((await states()).get(good)).to.equal('available');
    const refused = await system.api.post(`/blocks/${id}?action=upload`, { pool_id: await dedupPool(system), from_pool_id: bad });
    expect([refused.status, refused.body.code]).to.deep.equal([409, 'replica_not_available']);

    const mended = (await done(system, 'blocks', id, 'verify', { repair: true })).result;
    expect(mended?.notes?.join(' ')).to.contain(`written anew from pool ${good}`);
    expect((await states()).get(bad)).to.equal('available');
    expect((await done(system, 'blocks', id, 'verify')).result).to.deep.include({ damage: [], verified: true });
    expect((await done(system, 'pools', bad, 'verify', { sample: 1 })).result).to.deep.include({ damage: [], verified: true });
    expect(await fileDigest(await restoredFile(system, id, bad))).to.equal(await fileDigest(path));
  });
});
