import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

describe('http: the board', () => {
  let center: HttpCenter;
  let cookie: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter({ redisUrl: process.env.OPENSERVICE_TEST_REDIS_URL ?? 'redis://127.0.0.1:1' });
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
  });
  after(() => center?.stop());

  const login = (token: string) =>
    center.send('POST', '/board/login', new URLSearchParams({ token }).toString(), {
      Authorization: '',
      'Content-Type': 'application/x-www-form-urlencoded',
    });

  it('sends people to the form and programs a 401', async () => {
    const person = await center.send('GET', '/board', undefined, { Authorization: '', Accept: 'text/html' });
    expect([person.status, person.headers.get('Location')]).to.deep.equal([303, '/board/login']);
    const program = await center.send('GET', '/board/api/queues', undefined, { Authorization: '' });
    expect([program.status, program.body.code]).to.deep.equal([401, 'unauthorized']);
    expect((await center.send('GET', '/board/login', undefined, { Authorization: '' })).text).to.include('<form');
  });

  it('gives a cookie for a good token, which holds no token, and none for a bad one', async () => {
    expect((await login('wrong')).status).to.equal(401);
    expect((await login('wrong')).headers.get('Set-Cookie')).to.equal(null);
    const good = await login(center.token);
    expect([good.status, good.headers.get('Location')]).to.deep.equal([303, '/board']);
    const set = good.headers.get('Set-Cookie') ?? '';
    expect(set).to.include('HttpOnly').and.to.include('SameSite=Strict').and.to.include('Path=/board');
    expect(set).not.to.include(center.token);
    cookie = set.split(';')[0]!;
    const page = await center.send('GET', '/board', undefined, { Authorization: '', Cookie: cookie });
    expect(page.status).to.equal(200);
    for (const [, path] of page.text.matchAll(/(?:src|href)="([^"]*static[^"]+)"/g)) {
      const asset = await center.send('GET', new URL(path!, 'http://x/board/').pathname, undefined, {
        Authorization: '',
        Cookie: cookie,
      });
      expect(asset.status, path).to.equal(200);
    }
    const forged = await center.send('GET', '/board', undefined, { Authorization: '', Cookie: `${cookie.slice(0, -2)}xx` });
    expect(forged.status).to.equal(401);
  });

  it('cannot change anything', async () => {
    for (const path of ['/board/api/queues/n1.import/clean/completed', '/board/api/queues/n1.import/obliterate']) {
      expect((await center.send('PUT', path, undefined, { Cookie: cookie })).status).to.equal(405);
    }
  });

  it("shows every node's queues, and a node that has come since", async function () {
    if (process.env.OPENSERVICE_TEST_REDIS_URL === undefined) {
      console.log('    skipped: OPENSERVICE_TEST_REDIS_URL is not set');
      return this.skip();
    }
    const answer = await center.send('GET', '/board/api/queues');
    expect(answer.status, answer.text).to.equal(200);
    expect(answer.body.queues.map((q: { name: string }) => q.name)).to.include.members(['n1.import', 'n1.upload']);
    expect(answer.body.queues.every((q: { readOnlyMode: boolean }) => q.readOnlyMode)).to.equal(true);
  });

  it('says that Redis is away, and nothing else of the API minds', async () => {
    const other = await httpCenter({ redisUrl: 'redis://127.0.0.1:1' });
    if (other === null) return;
    try {
      const answer = await other.send('GET', '/board/api/queues');
      expect([answer.status, answer.body.code], answer.text).to.deep.equal([503, 'redis_unavailable']);
      expect((await other.send('GET', 'pools')).status).to.equal(200);
    } finally {
      await other.stop();
    }
  });
});
