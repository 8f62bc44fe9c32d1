/** The center is lost with its database: its pools, of a directory and of S3, are taken over by a new one, which learns from them what it had. */
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { createConnection } from 'mysql2/promise';
import { fileDigest } from './disk.ts';
import { dedupPool } from './pairs.ts';
import { deleted, diskFile, done, refusal, restoredFile, s3PoolBody, startAction } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('a pool whose center is lost', function () {
  this.timeout(120_000);
  let system: System;

  before(async () => {
    system = await startSystem({ nodes: 1 });
  });
  after(async () => system?.stop());

  const blockOf = async (id: string) => (await system.api.ok('GET', `/blocks/${id}`)).body.block;

  async function importAs(name: string, pool: string, path: string, more: Record<string, unknown> = {}): Promise<string> {
    const source = { type: 'file', node_id: 'node-1', path };
    const { body } = await system.api.ok('PUT', '/blocks', { name, pool_id: pool, source, ...more });
    await system.api.succeeded(body['job-id']);
    return body['block-id'];
  }

  /** Another center, with an empty database and another master key; only the token is the same, so that the test goes on with it. */
  async function loseTheCenter(): Promise<void> {
    await system.center.kill();
    const name = new URL(system.servers.mysql.url).pathname.slice(1);
    const connection = await createConnection(system.servers.mysql.url);
    await connection.query(`DROP DATABASE ${name}`);
    await connection.query(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
    await connection.end();
    const data = join(system.dir, 'another-center');
    await mkdir(data);
    await copyFile(join(system.dir, 'center/token'), join(data, 'token'));
    system.center.start({ OPENSERVICE_DATA_DIR: data });
    await system.ready();
  }

  it('comes back whole: blocks with names, sets and parents, the trash, and what contradicts is told', async () => {
    const dedup = await dedupPool(system);
    const s3Body: Record<string, unknown> = { ...s3PoolBody(system), encryption: true };
    const s3 = (await system.api.ok('PUT', '/pools', s3Body)).body['pool-id'] as string;
    const { path: at } = (await system.api.ok('GET', `/pools/${dedup}`)).body.pool;
    const key = {
      exported: (await system.api.ok('POST', `/pools/${s3}?action=export_key`, { passphrase: 'kept in the safe' })).body.exported,
      passphrase: 'kept in the safe',
    };
    const set = (await system.api.ok('PUT', '/sets', { name: 'nightly' })).body['set-id'];
    const [monday, tuesday] = [
      await diskFile(system, 9, { seed: 'monday' }),
      await diskFile(system, 9, { tail: 517, seed: 'tuesday' }),
    ];
    const first = await importAs('monday', dedup, monday, { set_id: set });
    const second = await importAs('tuesday', dedup, tuesday, { set_id: set, parent_block_id: first });
    const binned = await importAs('by mistake', dedup, monday);
    for (const id of [first, binned]) await system.api.succeeded(await startAction(system, id, 'upload', { pool_id: s3 }));
    await deleted(system, binned);
    const before = new Map([first, second].map((id) => [id, blockOf(id)]));
    const known = new Map(await Promise.all([...before].map(async ([id, block]) => [id, await block] as const)));

    await loseTheCenter();
    expect((await system.api.ok('GET', '/blocks')).body.blocks).to.deep.equal([]);

    const wanted = { type: 'dedup', name: 'dedup again', node_id: 'node-1', path: at };
    const inUse = await system.api.put('/pools', wanted);
    expect(refusal(inUse)).to.deep.equal({ status: 422, code: 'pool_path_in_use', fields: ['id'] });
    expect(inUse.body.pool_id, 'the refusal tells whose place it is').to.equal(dedup);
    expect((await system.api.ok('PUT', '/pools', { ...wanted, id: inUse.body.pool_id })).body['pool-id']).to.equal(dedup);
    expect((await done(system, 'pools', dedup, 'rebuild')).result?.summary).to.deep.equal({
      blocks: 3,
      added: 3,
      known: 0,
      conflicts: 0,
    });

    for (const [id, was] of known) {
      const now = await blockOf(id);
      for (const field of ['name', 'set_id', 'size', 'state', 'root_digest', 'parent_block_id', 'created_at']) {
        expect(now[field], `${field} of ${was.name}`).to.equal(was[field]);
      }
    }
    const nightly = (await system.api.ok('GET', `/sets/${set}`)).body.set;
    expect([nightly.name, nightly.block_count]).to.deep.equal(['nightly', 2]);
    expect((await blockOf(binned)).state).to.equal('trashed');
    await done(system, 'blocks', binned, 'undelete');
    expect(await fileDigest(await restoredFile(system, binned, dedup))).to.equal(await fileDigest(monday));
    expect(await fileDigest(await restoredFile(system, second, dedup))).to.equal(await fileDigest(tuesday));

    const { encryption: _, ...body } = s3Body;
    const keyless = await system.api.put('/pools', { ...body, id: s3 });
    expect(refusal(keyless)).to.deep.equal({ status: 422, code: 'wrong_pool_key', fields: ['key'] });
    expect((await system.api.ok('PUT', '/pools', { ...body, id: s3, key })).body['pool-id']).to.equal(s3);
    const rebuilt = (await done(system, 'pools', s3, 'rebuild')).result;
    // In the trash there, and in use here by now: that is for a person to decide.
    expect(rebuilt?.summary).to.deep.equal({ blocks: 2, added: 1, known: 0, conflicts: 1 });
    expect(rebuilt?.notes?.join(' ')).to.contain(binned).and.to.contain("in the pool's trash");
    expect(await fileDigest(await restoredFile(system, first, s3))).to.equal(await fileDigest(monday));
    expect((await system.api.ok('GET', `/pools/${s3}`)).body.pool).to.include({ block_count: 1, encrypted: true });
    expect((await done(system, 'pools', s3, 'rebuild')).result?.summary).to.include({ added: 0, known: 1, conflicts: 1 });

    // The new center's pools are in use as any others, and its collection spares what it took over.
    await done(system, 'pools', dedup, 'gc');
    await importAs('wednesday', dedup, await diskFile(system, 3, { seed: 'wednesday' }));
    expect(await fileDigest(await restoredFile(system, first, dedup))).to.equal(await fileDigest(monday));
  });
});
