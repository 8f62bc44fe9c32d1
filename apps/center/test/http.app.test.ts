import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openDatabase } from '@openservice/store';
import { expect } from 'chai';
import { makeApp } from '../src/http/app.ts';
import { ensureAdminToken } from '../src/http/auth.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

const CONTENT = '/openstore_v1/blocks/{block_id}/content';
const METHODS = ['get', 'put', 'post', 'delete'];

describe('http: the app', () => {
  let center: HttpCenter;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
  });
  after(() => center?.stop());

  it('keeps its first token in a file of its own and the same at every start', async () => {
    expect((await stat(join(center.deps.dataDir, 'token'))).mode & 0o777).to.equal(0o600);
    expect(await ensureAdminToken(center.database, center.deps.dataDir)).to.equal(center.token);
    const rows = await center.database.query('SELECT token_hash FROM tokens');
    expect(rows).to.have.length(1);
    expect(JSON.stringify(rows)).not.to.include(center.token);
  });

  for (const header of ['', 'Bearer', 'Bearer nonsense', 'Basic YTpi', 'Bearer a b']) {
    it(`answers 401 to Authorization "${header}"`, async () => {
      const answer = await center.send('GET', 'pools', undefined, { Authorization: header });
      expect([answer.status, answer.body.code]).to.deep.equal([401, 'unauthorized']);
      expect(answer.headers.get('WWW-Authenticate')).to.match(/^Bearer/);
    });
  }

  it('lets a viewer read and not change, an operator change', async () => {
    const viewer = { Authorization: `Bearer ${await center.tokenFor('viewer')}` };
    expect((await center.send('GET', 'sets', undefined, viewer)).status).to.equal(200);
    expect((await center.send('PUT', 'sets', { name: 'v' }, viewer)).body.code).to.equal('forbidden');
    const operator = { Authorization: `Bearer ${await center.tokenFor('operator')}` };
    expect((await center.send('PUT', 'sets', { name: 'o' }, operator)).status).to.equal(201);
  });

  it('answers 413, 415, 400, 404 and 405 as problems', async () => {
    const cases: [string, string, unknown, Record<string, string>, number, string][] = [
      ['PUT', 'sets', { name: 'x'.repeat(1024 * 1024) }, {}, 413, 'body_too_large'],
      ['PUT', 'sets', 'name=x', { 'Content-Type': 'application/x-www-form-urlencoded' }, 415, 'unsupported_media_type'],
      ['PUT', 'sets', '{"name":', {}, 400, 'invalid_json'],
      ['GET', 'nothing', undefined, {}, 404, 'not_found'],
      ['GET', '/nothing', undefined, {}, 404, 'not_found'],
      ['POST', 'pools', {}, {}, 405, 'method_not_allowed'],
      ['PATCH', 'sets', {}, {}, 405, 'method_not_allowed'],
    ];
    for (const [method, path, body, headers, status, code] of cases) {
      const answer = await center.send(method, path, body, headers);
      expect([answer.status, answer.body?.code], `${method} ${path} ${answer.text}`).to.deep.equal([status, code]);
      expect(answer.headers.get('Content-Type')).to.equal('application/problem+json');
      expect(answer.body).to.include.keys('type', 'title', 'status', 'detail');
    }
  });

  it('refuses a long body that comes without a length', async () => {
    const body = new Blob([JSON.stringify({ name: 'x'.repeat(2 * 1024 * 1024) })]).stream();
    const init = {
      method: 'PUT',
      body,
      duplex: 'half',
      headers: { Authorization: `Bearer ${center.token}`, 'Content-Type': 'application/json' },
    };
    expect((await center.app.request('/openstore_v1/sets', init as RequestInit)).status).to.equal(413);
  });

  it('gives each request an id, or keeps the one it came with', async () => {
    expect((await center.send('GET', 'pools')).headers.get('X-Request-Id')).to.match(/^req-/);
    expect((await center.send('GET', 'pools', undefined, { 'X-Request-Id': 'mine' })).headers.get('X-Request-Id')).to.equal(
      'mine',
    );
  });

  it('carries the trace of the request into the job', async () => {
    const block = await center.block([await center.pool('local')]);
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const { body } = await center.send('POST', `blocks/${block}?action=verify`, undefined, { traceparent });
    const [job] = await center.database.query('SELECT traceparent, created_by FROM jobs WHERE id = ?', [body['job-id']]);
    expect(job.traceparent).to.equal(traceparent);
    expect(job.created_by).to.match(/^token-/);
  });

  it('tells of its health, and counts', async () => {
    expect((await center.send('GET', '/healthz')).body.status).to.equal('ok');
    expect((await center.send('GET', '/readyz')).body).to.deep.equal({ status: 'ready', mysql: true, nats: true, redis: false });
    const { text } = await center.send('GET', '/metrics');
    expect(text).to.match(/^openservice_jobs\{state="queued"\} \d+$/m);
    expect(text).to.match(/^openservice_nodes\{state="online"\} 1$/m);
    expect(text).to.match(/^openservice_outbox_pending \d+$/m);
    expect(text).to.match(/^process_resident_memory_bytes \d+$/m);
  });

  it('serves its API page from its own files', async () => {
    const page = await center.send('GET', '/docs');
    expect(page.text).not.to.match(/https?:\/\//);
    for (const [, path] of page.text.matchAll(/(?:src|href)="([^"]+)"/g)) {
      expect((await center.send('GET', path!)).status, path).to.equal(200);
    }
    expect((await center.send('GET', '/docs/package.json')).status).to.equal(404);
  });

  it('describes every route in OpenAPI 3.1, with references that resolve', async () => {
    const { body: document } = await center.send('GET', '/openapi.json');
    expect(document.openapi).to.equal('3.1.0');
    const described = Object.entries(document.paths as Record<string, object>).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    const routes = center.app.routes
      .filter((route) => route.path.startsWith('/openstore_v1/') && METHODS.includes(route.method.toLowerCase()))
      .map((route) => `${route.method.toLowerCase()} ${route.path.replaceAll(/:(\w+)/g, '{$1}')}`);
    // HEAD comes to Hono's handler of GET; this one answers nothing else.
    const asked = routes.map((route) => (route === `get ${CONTENT}` ? `head ${CONTENT}` : route));
    expect(described).to.have.members([...new Set(asked)]);
    expect(described).to.include.members(['post /openstore_v1/pools/{pool_id}', 'put /openstore_v1/access_keys']);
    for (const [, path] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      let at = document;
      for (const part of path!.split('/')) at = at[part];
      expect(at, path).to.be.an('object');
    }
    const create = document.components.schemas.CreateBlock;
    expect(create.additionalProperties).to.equal(false);
    expect(create.required).to.have.members(['name', 'pool_id']);
  });

  it('answers 503 within seconds while the database is away, and again after', async () => {
    const gone = await openDatabase(center.url, { connections: 2 });
    await gone.destroy();
    const app = makeApp({ ...center.deps, database: gone });
    const headers = { Authorization: `Bearer ${center.token}` };
    const began = Date.now();
    const answer = await app.request('/openstore_v1/pools', { headers });
    expect(Date.now() - began).to.be.below(3000);
    expect(answer.status).to.equal(503);
    expect(answer.headers.get('Retry-After')).to.equal('2');
    expect(((await answer.json()) as { code: string }).code).to.equal('database_unavailable');
    await app.close();
  });

  it('answers 503 and does not hang when the database says nothing', async () => {
    const silent = {
      ...center.database,
      isInitialized: true,
      query: () => new Promise(() => undefined),
    };
    const app = makeApp({ ...center.deps, database: silent as unknown as HttpCenter['database'] });
    const answer = await app.request('/openstore_v1/pools', { headers: { Authorization: `Bearer ${center.token}` } });
    expect(answer.status).to.equal(503);
    await app.close();
  });
});
