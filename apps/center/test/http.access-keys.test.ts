import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

describe('http: access keys', () => {
  let center: HttpCenter;
  let pool: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    pool = await center.pool('local');
  });
  after(() => center?.stop());

  const put = (body: unknown, headers = {}) => center.send('PUT', 'access_keys', body, headers);

  it('tell their secret once, and keep it sealed', async () => {
    const { status, body } = await put({ name: ' site B ', pool });
    expect(status).to.equal(201);
    expect(body.access_key).to.match(/^OSAK[A-Z2-7]{20}$/);
    expect(body.secret_key).to.have.length(43);
    const list = await center.send('GET', 'access_keys');
    expect(list.body.access_keys).to.have.length(1);
    expect(list.body.access_keys[0]).to.deep.include({ access_key: body.access_key, name: 'site B', pool });
    const [row] = await center.database.query('SELECT * FROM access_keys');
    const audited = await center.database.query('SELECT * FROM audit');
    for (const text of [list.text, JSON.stringify(row), JSON.stringify(audited)]) expect(text).not.to.include(body.secret_key);
    expect(center.deps.secrets.open(row.secret_key_sealed)).to.equal(body.secret_key);
    expect(audited.at(-1)).to.include({ action: 'access_key.create', resource: body.access_key });
  });

  it('open what a node exports by name, too', async () => {
    expect((await put({ name: 'export', pool: 'n1/default' })).status).to.equal(201);
    const nobody = await put({ name: 'nobody', pool: 'nobody/default' });
    expect([nobody.status, nobody.body.code]).to.deep.equal([404, 'node_not_found']);
  });

  it('are for pools that a pool server can give out', async () => {
    const s3 = await put({ name: 's3', pool: await center.pool('s3') });
    expect([s3.status, s3.body.errors[0].path]).to.deep.equal([422, 'pool']);
    expect(s3.body.detail).to.include('create an s3 pool at the other center');
    const unknown = await put({ name: 'unknown', pool: 'pool-00000000000000000000000000' });
    expect([unknown.status, unknown.body.code]).to.deep.equal([404, 'pool_not_found']);
  });

  const bad: [string, unknown, string][] = [
    ['no name', { pool: 'n1/default' }, 'name'],
    ['no pool', { name: 'x' }, 'pool'],
    ['a pool that is none', { name: 'x', pool: 'default' }, 'pool'],
    ['a pool with two slashes', { name: 'x', pool: 'n1/a/b' }, 'pool'],
    ['an unknown field', { name: 'x', pool: 'n1/default', secret_key: 'mine' }, 'secret_key'],
  ];
  for (const [what, body, path] of bad) {
    it(`refuse ${what}, naming the field`, async () => {
      const answer = await put(body);
      expect([answer.status, answer.body.code]).to.deep.equal([422, 'invalid_request']);
      expect(answer.body.errors.map((e: { path: string }) => e.path)).to.include(path);
    });
  }

  it('have names of their own, and take no Idempotency-Key, which would keep the answer', async () => {
    expect((await put({ name: 'one', pool })).status).to.equal(201);
    const again = await put({ name: 'one', pool });
    expect([again.status, again.body.code]).to.deep.equal([409, 'name_taken']);
    const kept = await put({ name: 'two', pool }, { 'Idempotency-Key': 'k' });
    expect([kept.status, kept.body.errors[0].path]).to.deep.equal([422, 'header.Idempotency-Key']);
  });

  it('are for admins', async () => {
    const headers = { Authorization: `Bearer ${await center.tokenFor('operator')}` };
    for (const [method, path, body] of [
      ['GET', 'access_keys', undefined],
      ['PUT', 'access_keys', { name: 'x', pool }],
      ['DELETE', 'access_keys/OSAKAAAAAAAAAAAAAAAAAAAA', undefined],
    ] as const) {
      expect((await center.send(method, path, body, headers)).body.code, method).to.equal('forbidden');
    }
  });

  it('are listed page by page, and deleted', async () => {
    const all: string[] = [];
    for (let marker = ''; ; ) {
      const { body } = await center.send('GET', `access_keys?limit=2${marker === '' ? '' : `&marker=${marker}`}`);
      all.push(...body.access_keys.map((key: { access_key: string }) => key.access_key));
      if (body.next_marker === null) break;
      marker = body.next_marker;
    }
    expect(all)
      .to.have.length(3)
      .and.deep.equal([...new Set(all)].toSorted());
    const gone = await center.send('DELETE', `access_keys/${all[0]}`);
    expect([gone.status, gone.body]).to.deep.equal([200, { access_key: all[0] }]);
    for (const id of [all[0], 'nonsense', 'OSAK%27']) {
      const answer = await center.send('DELETE', `access_keys/${id}`);
      expect([answer.status, answer.body.code], id).to.deep.equal([404, 'access_key_not_found']);
    }
    expect((await center.send('GET', 'access_keys')).body.access_keys).to.have.length(2);
  });
});
