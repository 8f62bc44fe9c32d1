/** MySQL comes back from an older dump: what was done since is found in nodes and pools, mended where that is safe, and else told to a person. */
import { expect } from 'chai';
import { type Connection, createConnection, type RowDataPacket } from 'mysql2/promise';
import { fileDigest } from './disk.ts';
import { deleted, diskFile, done, imported, localPool, restoredFile } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('a database that is brought back from an older dump', function () {
  this.timeout(240_000);
  let system: System;
  let mysql: Connection;

  before(async () => {
    system = await startSystem({ nodes: 1 });
    mysql = await createConnection(system.servers.mysql.url);
  });
  after(async () => {
    await mysql?.end();
    await system?.stop();
  });

  /** All tables of one database into a new one of that name, as a dump and its restore do. */
  async function copyDatabase(from: string, to: string): Promise<void> {
    await mysql.query(`DROP DATABASE IF EXISTS ${to}`);
    await mysql.query(`CREATE DATABASE ${to} CHARACTER SET utf8mb4`);
    const [tables] = await mysql.query<RowDataPacket[]>(
      'SELECT table_name AS name FROM information_schema.tables WHERE table_schema = ?',
      [from],
    );
    for (const { name } of tables) {
      await mysql.query(`CREATE TABLE ${to}.${name} LIKE ${from}.${name}`);
      await mysql.query(`INSERT INTO ${to}.${name} SELECT * FROM ${from}.${name}`);
    }
  }

  const anomalies = async (kind: string): Promise<{ resource: string; remedy: string }[]> =>
    (await system.api.ok('GET', `/anomalies?kind=${kind}`)).body.anomalies;

  const listed = (kind: string, resource: string, wanted = true) =>
    system.api.until(
      `/openstore_v1/anomalies?kind=${kind}`,
      ({ body }) => ((body.anomalies ?? []) as { resource: string }[]).some((one) => one.resource === resource) === wanted,
      120_000,
    );

  it('blocks and jobs since then are found, none is lost that lies in a pool, and what is gone is named', async () => {
    const name = new URL(system.servers.mysql.url).pathname.slice(1);
    const pool = await localPool(system);
    const [kept, gone] = [
      await imported(system, pool.id, await diskFile(system, 6, { seed: 'kept' })),
      await imported(system, pool.id, await diskFile(system, 3, { seed: 'gone' })),
    ];
    await system.center.kill();
    await copyDatabase(name, 'older');
    system.center.start();
    await system.ready();

    const path = await diskFile(system, 6, { tail: 517, seed: 'since' });
    const since = await imported(system, pool.id, path);
    await deleted(system, gone, { purge: true });
    const { body } = await system.api.ok('PUT', '/blocks', {
      name: 'under way',
      pool_id: pool.id,
      bandwidth: 300_000,
      source: { type: 'file', node_id: 'node-1', path: await diskFile(system, 30, { seed: 'under way' }) },
    });
    const underWay = body['job-id'] as string;
    await system.api.jobWhen(underWay, ({ state }) => state === 'running');

    await system.center.kill();
    await copyDatabase('older', name);
    system.center.start();
    await system.api.until('/readyz', ({ status }) => status === 200);

    // The node's next sync shows its job; the center then compares the pools.
    await listed('unknown_job', `node:node-1/job:${underWay}`);
    await listed('unknown_block', `pool:${pool.id}/block:${since}`);
    await listed('missing_replica', `pool:${pool.id}/block:${gone}`);
    expect((await anomalies('unknown_block')).map(({ resource }) => resource)).to.deep.equal([`pool:${pool.id}/block:${since}`]);
    expect((await anomalies('missing_replica')).map(({ resource }) => resource)).to.deep.equal([`pool:${pool.id}/block:${gone}`]);
    const [unknown] = await anomalies('unknown_block');
    expect(unknown!.remedy).to.include(`POST /pools/${pool.id}?action=rebuild`);

    await done(system, 'pools', pool.id, 'rebuild');
    await deleted(system, gone, { purge: true });
    await system.api.ok('POST', '/anomalies?action=compare', { pool_id: pool.id });
    await listed('unknown_block', `pool:${pool.id}/block:${since}`, false);
    await listed('missing_replica', `pool:${pool.id}/block:${gone}`, false);
    expect(await fileDigest(await restoredFile(system, since, pool.id)), 'it is what was imported since').to.equal(
      await fileDigest(path),
    );
    expect((await system.api.ok('GET', `/blocks/${kept}`)).body.block.state).to.equal('available');
    // The node has let go of the job that nobody knows, and takes others.
    await imported(system, pool.id, await diskFile(system, 3, { seed: 'after' }));
  });
});
