import { expect } from 'chai';
import { type HttpCenter, httpCenter, s3Body } from './support/http-center.ts';

describe('http: pools', () => {
  let center: HttpCenter;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    await center.addNode('n2');
  });
  after(() => center?.stop());

  const local = (changes: Record<string, unknown> = {}) => ({
    type: 'local',
    name: 'disks',
    node_id: 'n1',
    path: '/data/pool',
    ...changes,
  });

  const dedup = (changes: Record<string, unknown> = {}) => local({ type: 'dedup', path: '/data/vault', ...changes });
  const remote = (changes: Record<string, unknown> = {}) => ({
    type: 'remote',
    name: 'far',
    host: 'h',
    access_key: 'OSAK',
    secret_key: 'x',
    ...changes,
  });

  it('creates a local pool, probed on its node, and shows it', async () => {
    const made = await center.send('PUT', 'pools', local({ name: '  first ', path: '/data//first/' }));
    expect(made.status).to.equal(201);
    const id = made.body['pool-id'];
    expect(id).to.match(/^pool-/);
    expect(center.nodes.calls.at(-1)).to.deep.include({ nodeId: 'n1', method: 'pool_probe' });
    expect(center.nodes.calls.at(-1)?.request).to.deep.equal({
      spec: { id, type: 'local', node_id: 'n1', path: '/data/first' },
      create: true,
    });
    const { body, headers } = await center.send('GET', `pools/${id}`);
    expect(headers.get('Cache-Control')).to.equal('no-store');
    expect(body.pool).to.deep.include({
      id,
      name: 'first',
      type: 'local',
      state: 'available',
      path: '/data/first',
      capacity_bytes: 1_000_000_000,
      block_count: 0,
    });
    expect(new Date(body.pool.created_at).getTime()).to.be.closeTo(Date.now(), 60_000);
  });

  it('creates an s3 pool by any online node, and never shows the secret', async () => {
    const made = await center.send('PUT', 'pools', s3Body({ prefix: '/a/b/' }));
    expect(made.status).to.equal(201);
    const one = await center.send('GET', `pools/${made.body['pool-id']}`);
    expect(one.body.pool).to.deep.include({
      bucket: 's3_storage',
      prefix: 'a/b',
      https: false,
      access_key: 'PF4****8FM',
      region: 'us-east-1',
    });
    const list = await center.send('GET', 'pools');
    for (const text of [one.text, list.text, made.text]) {
      expect(text).not.to.include('fPzXzJwGc2y1VzWZ025');
      expect(text).not.to.include('PF47C3UA95UUGTTA88FM');
    }
    const [row] = await center.database.query('SELECT * FROM pools WHERE id = ?', [made.body['pool-id']]);
    expect(JSON.stringify(row)).not.to.include('fPzXzJwGc2y1VzWZ025');
    expect(center.deps.secrets.open(row.secret_key_sealed)).to.equal('fPzXzJwGc2y1VzWZ025');
  });

  it('builds the endpoint from host, port and https', async () => {
    const made = await center.send(
      'PUT',
      'pools',
      s3Body({ name: 'by host', endpoint: undefined, host: '::1', port: 7480, https: false, bucket: 'by-host' }),
    );
    expect(made.status).to.equal(201);
    expect((await center.send('GET', `pools/${made.body['pool-id']}`)).body.pool.endpoint).to.equal('http://[::1]:7480');
  });

  const bad: [string, unknown, string][] = [
    ['no body', undefined, 'type'],
    ['a list', [], ''],
    ['an unknown type', local({ type: 'tape' }), 'type'],
    ['no name', local({ name: undefined }), 'name'],
    ['a name that is a number', local({ name: 5 }), 'name'],
    ['an empty name', local({ name: '   ' }), 'name'],
    ['a long name', local({ name: 'x'.repeat(129) }), 'name'],
    ['a name with a control character', local({ name: 'a\u0007b' }), 'name'],
    ['an unknown field', local({ colour: 'red' }), 'colour'],
    ['a field of another type', local({ bucket: 'b' }), 'bucket'],
    ['a relative path', local({ path: 'data' }), 'path'],
    ['a path with NUL', local({ path: '/a\0b' }), 'path'],
    ['a long path', local({ path: `/${'x'.repeat(1024)}` }), 'path'],
    ['a path that climbs', local({ path: '/a/../b' }), 'path'],
    ['the root as its path', local({ path: '//' }), 'path'],
    ['no path', local({ path: undefined }), 'path'],
    ['a bad node id', local({ node_id: 'N 1' }), 'node_id'],
    ['an id of another kind', local({ id: 'block-01k00000000000000000000000' }), 'id'],
    ['an id that is none', local({ id: 'pool-1' }), 'id'],
    ['a local pool that is encrypted', local({ encryption: true }), 'encryption'],
    ['a local pool with a key', local({ key: { exported: 'ospk1.x', passphrase: 'y' } }), 'key'],
    ['encryption that is text', dedup({ encryption: 'yes' }), 'encryption'],
    ['a key that is no export', dedup({ key: { exported: 'secret', passphrase: 'x' } }), 'key.exported'],
    ['a key without passphrase', dedup({ key: { exported: 'ospk1.x' } }), 'key.passphrase'],
    ['a key and no encryption', dedup({ encryption: false, key: { exported: 'ospk1.x', passphrase: 'x' } }), 'encryption'],
    ['a dedup pool of no node', dedup({ node_id: undefined }), 'node_id'],
    ['a remote pool that is encrypted', remote({ encryption: true }), 'encryption'],
    ['a remote pool with an id', remote({ id: 'pool-01k00000000000000000000000' }), 'id'],
    ['a host with a scheme', remote({ host: 'https://h' }), 'host'],
    ['a remote pool named with a slash', remote({ remote_pool: 'n1/default' }), 'remote_pool'],
    ['a remote pool without a name', remote({ remote_pool: '' }), 'remote_pool'],
    ['a fingerprint that is none', remote({ tls_fingerprint: 'ab:cd' }), 'tls_fingerprint'],
    ['a fingerprint without https', remote({ https: false, tls_fingerprint: 'a'.repeat(64) }), 'tls_fingerprint'],
    ['an access key alone', remote({ secret_key: undefined }), 'secret_key'],
    ['a secret key alone', remote({ access_key: undefined }), 'access_key'],
    ['port 0', s3Body({ endpoint: undefined, host: 'h', port: 0 }), 'port'],
    ['port 65536', s3Body({ endpoint: undefined, host: 'h', port: 65_536 }), 'port'],
    ['a negative port', { type: 'remote', name: 'r', host: 'h', port: -1 }, 'port'],
    ['port 2^53', { type: 'remote', name: 'r', host: 'h', port: 2 ** 53 }, 'port'],
    ['a port that is text', { type: 'remote', name: 'r', host: 'h', port: '9527' }, 'port'],
    ['other without endpoint', s3Body({ endpoint: undefined }), 'endpoint'],
    ['aws without region', s3Body({ s3_scheme: 'aws', endpoint: undefined }), 'region'],
    ['an endpoint with a path', s3Body({ endpoint: 'http://h/x' }), 'endpoint'],
    ['an endpoint with credentials', s3Body({ endpoint: 'http://u:p@h' }), 'endpoint'],
    ['an ftp endpoint', s3Body({ endpoint: 'ftp://h' }), 'endpoint'],
    ['https against its endpoint', s3Body({ https: true }), 'https'],
    ['a bad bucket', s3Body({ bucket: 'UPPER' }), 'bucket'],
    ['a short bucket', s3Body({ bucket: 'ab' }), 'bucket'],
    ['a bad prefix', s3Body({ prefix: 'a//b' }), 'prefix'],
    ['a prefix that climbs', s3Body({ prefix: 'a/../b' }), 'prefix'],
    ['an unknown scheme', s3Body({ s3_scheme: 'gcs' }), 's3_scheme'],
    ['no secret', s3Body({ secret_key: undefined }), 'secret_key'],
    ['https that is text', s3Body({ https: 'yes' }), 'https'],
  ];
  for (const [what, body, path] of bad) {
    it(`refuses ${what}, naming the field`, async () => {
      const calls = center.nodes.calls.length;
      const answer = await center.send('PUT', 'pools', body);
      expect([answer.status, answer.body.code], answer.text).to.deep.equal([422, 'invalid_request']);
      expect(answer.headers.get('Content-Type')).to.equal('application/problem+json');
      expect(answer.body.errors.map((e: { path: string }) => e.path)).to.include(path);
      expect(center.nodes.calls.length).to.equal(calls);
    });
  }

  it('refuses a name and a place that are taken', async () => {
    expect((await center.send('PUT', 'pools', local({ name: 'taken', path: '/taken' }))).status).to.equal(201);
    const name = await center.send('PUT', 'pools', local({ name: 'taken', path: '/other' }));
    expect([name.status, name.body.code]).to.deep.equal([409, 'name_taken']);
    const place = await center.send('PUT', 'pools', local({ name: 'other', path: '/taken/' }));
    expect([place.status, place.body.code]).to.deep.equal([409, 'pool_exists']);
    const elsewhere = await center.send('PUT', 'pools', local({ name: 'other', path: '/taken', node_id: 'n2' }));
    expect(elsewhere.status).to.equal(201);
    await center.send('PUT', 'pools', s3Body({ name: 's3 a', bucket: 'same' }));
    const bucket = await center.send(
      'PUT',
      'pools',
      s3Body({ name: 's3 b', bucket: 'same', endpoint: 'http://127.0.0.1:7480/' }),
    );
    expect(bucket.body.code).to.equal('pool_exists');
  });

  it("passes on a node's refusal and leaves nothing behind", async () => {
    const before = center.nodes.answers.pool_probe;
    center.nodes.refuse('pool_probe', 'access_denied', 'The S3 server refuses this key.');
    const refused = await center.send('PUT', 'pools', local({ name: 'again', path: '/again' }));
    expect(refused.body).to.deep.include({ status: 422, code: 'access_denied', detail: 'The S3 server refuses this key.' });
    center.nodes.away('pool_probe');
    const away = await center.send('PUT', 'pools', local({ name: 'again', path: '/again' }));
    expect([away.status, away.body.code, away.headers.get('Retry-After')]).to.deep.equal([503, 'node_unavailable', '2']);
    center.nodes.answers.pool_probe = before;
    const list = await center.send('GET', 'pools?filter=again');
    expect(list.body.pools).to.deep.equal([]);
    expect((await center.send('PUT', 'pools', local({ name: 'again', path: '/again' }))).status).to.equal(201);
  });

  it('goes on with the id of a call that a crash cut off between the probe and its record', async () => {
    const before = center.nodes.answers.pool_probe;
    const cut = Promise.withResolvers<unknown>();
    const asked = Promise.withResolvers<void>();
    center.nodes.answers.pool_probe = () => {
      asked.resolve();
      return cut.promise;
    };
    const first = center.send('PUT', 'pools', local({ name: 'crash', path: '/crash' }));
    await asked.promise;
    const marked = (center.nodes.calls.at(-1)!.request as { spec: { id: string } }).spec.id;
    expect((await center.send('GET', `pools/${marked}`)).status).to.equal(404);
    center.nodes.answers.pool_probe = before;
    const again = await center.send('PUT', 'pools', local({ name: 'crash', path: '/crash' }));
    expect(again.body['pool-id']).to.equal(marked);
    cut.resolve({ capacity_bytes: null, fencing: 'strict' });
    expect((await first).body.code).to.equal('name_taken');
  });

  it('gives a pool made again in its old place its old id, which the place still names', async () => {
    const made = await center.send('PUT', 'pools', local({ name: 'old', path: '/old' }));
    await center.send('DELETE', `pools/${made.body['pool-id']}`);
    const again = await center.send('PUT', 'pools', local({ name: 'new', path: '/old' }));
    expect(again.body['pool-id']).to.equal(made.body['pool-id']);
  });

  it('answers 404 for unknown nodes and pools', async () => {
    const node = await center.send('PUT', 'pools', local({ name: 'x', node_id: 'nobody' }));
    expect([node.status, node.body.code]).to.deep.equal([404, 'node_not_found']);
    for (const id of ['pool-00000000000000000000000000', 'nonsense', 'block-00000000000000000000000000', "pool-'%20OR%201=1"]) {
      for (const method of ['GET', 'DELETE']) {
        const answer = await center.send(method, `pools/${id}`);
        expect([answer.status, answer.body.code], id).to.deep.equal([404, 'pool_not_found']);
      }
    }
  });

  it('deletes an empty pool by path and by query', async () => {
    const one = await center.send('DELETE', `pools/${await center.pool('local')}`);
    expect(one.status).to.equal(200);
    const id = await center.pool('local');
    expect((await center.send('DELETE', `pools?pool_id=${id}`)).body).to.deep.equal({
      'pool-id': id,
      removed_replicas: 0,
      lost_blocks: 0,
    });
    expect((await center.send('GET', `pools/${id}`)).status).to.equal(404);
    expect((await center.send('DELETE', 'pools')).body.errors[0].path).to.equal('query.pool_id');
  });

  it('keeps a pool with blocks unless an admin forces it, and then says which blocks are lost', async () => {
    const [a, b] = [await center.pool('local'), await center.pool('s3')];
    const only = await center.block([a]);
    const both = await center.block([a, b]);
    const refused = await center.send('DELETE', `pools/${a}`);
    expect(refused.body).to.deep.include({ status: 409, code: 'pool_in_use', block_count: 2 });
    const operator = await center.tokenFor('operator');
    const forbidden = await center.send('DELETE', `pools/${a}?force=true`, undefined, { Authorization: `Bearer ${operator}` });
    expect([forbidden.status, forbidden.body.code]).to.deep.equal([403, 'forbidden']);
    const forced = await center.send('DELETE', `pools/${a}?force=true`);
    expect(forced.body).to.deep.include({ removed_replicas: 2, lost_blocks: 1 });
    expect((await center.send('GET', `blocks/${only}`)).body.block).to.deep.include({ state: 'error', replicas: [] });
    expect((await center.send('GET', `blocks/${only}`)).body.block.error.code).to.equal('replica_lost');
    expect((await center.send('GET', `blocks/${both}`)).body.block.state).to.equal('available');
  });

  it('forgets by force what was in its trash, which nobody has lost', async () => {
    const pool = await center.pool('local');
    const id = await center.block([pool]);
    await center.database.query("UPDATE blocks SET state = 'trashed', purge_at = UTC_TIMESTAMP(3) WHERE id = ?", [id]);
    await center.database.query("UPDATE replicas SET state = 'trashed' WHERE block_id = ?", [id]);
    expect((await center.send('DELETE', `pools/${pool}`)).body.code, 'it may still be wanted back').to.equal('pool_in_use');
    const forced = await center.send('DELETE', `pools/${pool}?force=true`);
    expect(forced.body).to.deep.include({ removed_replicas: 1, lost_blocks: 0 });
    expect((await center.send('GET', `blocks/${id}`)).status).to.equal(404);
  });

  it('keeps a pool that a job uses, and names the job', async () => {
    const [a, b] = [await center.pool('local'), await center.pool('s3')];
    const id = await center.block([a]);
    const job = await center.send('POST', `blocks/${id}?action=upload`, { pool_id: b });
    const answer = await center.send('DELETE', `pools/${b}?force=true`);
    expect(answer.body).to.deep.include({ status: 409, code: 'pool_busy', job_id: job.body['job-id'] });
  });
});
