/** Two centers that share no server: one issues a key for a pool of its node, the other uses that pool as its own. */
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { dedupPool } from './pairs.ts';
import { diskFile, imported, localPool, refusal, restoredFile, startAction } from './steps.ts';
import { type System, startSystem } from './system.ts';

type Key = Record<'access_key' | 'secret_key', string>;

describe("another center's pool", function () {
  this.timeout(120_000);
  let here: System;
  let there: System;
  let local: string;
  let theirs: string;
  let endpoint: { host: string; port: number; tls_fingerprint: string };
  let count = 0;

  before(async () => {
    [here, there] = await Promise.all([startSystem({ nodes: 1 }), startSystem({ nodes: 1 })]);
    local = (await localPool(here)).id;
    theirs = await dedupPool(there);
    const { node } = (await there.api.ok('GET', '/nodes/node-1')).body;
    const { hostname: host, port } = new URL(node.pool_endpoint as string);
    endpoint = { host, port: Number(port), tls_fingerprint: node.pool_fingerprint };
  });
  after(() => Promise.all([here?.stop(), there?.stop()]));

  async function newKey(pool = theirs): Promise<Key> {
    return (await there.api.ok('PUT', '/access_keys', { name: `for the other site ${++count}`, pool })).body;
  }
  const attempt = (more: Record<string, unknown>, pool = theirs) =>
    here.api.put('/pools', { type: 'remote', name: `theirs ${++count}`, remote_pool: pool, ...endpoint, ...more });

  it('takes an upload and gives it back, and tells its own center nothing of it', async () => {
    const made = await attempt(await newKey());
    expect(made.status, JSON.stringify(made.body)).to.equal(201);
    const pool = made.body['pool-id'] as string;
    const path = await diskFile(here, 12, { tail: 4096 + 517, seed: 'abroad' });
    const id = await imported(here, local, path);
    await here.api.succeeded(await startAction(here, id, 'upload', { pool_id: pool }));
    expect(await fileDigest(await restoredFile(here, id, pool))).to.equal(await fileDigest(path));
    expect((await there.api.ok('GET', '/blocks')).body.blocks).to.deep.equal([]);
    const view = (await here.api.ok('GET', `/pools/${pool}`)).body.pool;
    expect(JSON.stringify(view)).not.to.contain('secret');
    expect(view.access_key).to.contain('****');
  });

  it('is refused at creation, with the field named, where anything is wrong', async () => {
    const second = await dedupPool(there);
    const key = await newKey(second);
    const ofAnotherPool = await newKey();
    const wrong: [Record<string, unknown>, number, string, string[]][] = [
      [{ ...key, secret_key: 'not-the-secret' }, 422, 'remote_access_denied', ['access_key']],
      [{ ...key, access_key: `OSAK${'A'.repeat(20)}` }, 422, 'remote_access_denied', ['access_key']],
      [ofAnotherPool, 422, 'remote_access_denied', ['access_key']],
      [{ ...key, tls_fingerprint: 'ab'.repeat(32) }, 422, 'remote_certificate_refused', ['tls_fingerprint']],
      [{ ...key, tls_fingerprint: null }, 422, 'remote_certificate_refused', ['tls_fingerprint']],
      [{ ...key, port: 1 }, 422, 'pool_unreachable', ['host']],
      [{ access_key: key.access_key }, 422, 'invalid_request', ['secret_key']],
      [{}, 422, 'invalid_request', ['access_key', 'secret_key']],
    ];
    for (const [more, status, code, fields] of wrong) {
      const answer = await attempt(more, second);
      expect(refusal(answer), JSON.stringify(answer.body)).to.deep.equal({ status, code, fields });
      expect(JSON.stringify(answer.body)).not.to.contain(key.secret_key);
    }
    const listed = (await here.api.ok('GET', '/pools?type=remote')).body.pools as { remote_pool: string; access_key: string }[];
    expect(listed).to.have.length(1);
  });

  it('is closed to a key that was taken back: for new pools and for new work', async () => {
    const second = await dedupPool(there);
    const key = await newKey(second);
    const pool = (await here.api.ok('GET', '/pools?type=remote')).body.pools[0].id as string;
    for (const { access_key } of (await there.api.ok('GET', '/access_keys')).body.access_keys) {
      await there.api.ok('DELETE', `/access_keys/${access_key}`);
    }
    expect(refusal(await attempt(key, second))).to.deep.equal({
      status: 422,
      code: 'remote_access_denied',
      fields: ['access_key'],
    });
    const id = await imported(here, local, await diskFile(here, 3, { seed: 'too late' }));
    const job = await here.api.ended(await startAction(here, id, 'upload', { pool_id: pool }));
    expect(job.state).to.equal('failed');
    expect(job.error?.code).to.equal('unauthorized');
    expect(job.error?.message).to.match(/access key/);
    expect((await here.api.ok('GET', `/blocks/${id}`)).body.block.state).to.equal('available');
  });
});
