import { expect } from 'chai';
import { type HttpCenter, httpCenter, s3Body } from './support/http-center.ts';
import { loaded } from './support/instances.ts';

const VALUES: unknown[] = [
  null,
  0,
  -1,
  1.5,
  2 ** 53,
  '',
  ' ',
  'x'.repeat(100_000),
  '\0',
  '\ud800',
  "' OR 1=1 --",
  [],
  [[]],
  {},
  { a: { b: 1 } },
  true,
];

describe('http: any value in any field', () => {
  let center: HttpCenter;
  let requests: [method: string, path: string, body: Record<string, unknown>][];

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    const [local, cloud] = [await center.pool('local'), await center.pool('s3')];
    const block = await center.block([local]);
    const instance = await loaded(center, { block_id: await center.block([local]) });
    const file = { type: 'file', node_id: 'n1', path: '/in/a' };
    requests = [
      ['PUT', 'pools', { type: 'local', name: 'a', node_id: 'n1', path: '/a' }],
      ['PUT', 'pools', s3Body({ region: 'r', prefix: 'p', https: false })],
      [
        'PUT',
        'pools',
        { type: 'remote', name: 'r', host: 'h', port: 9527, remote_pool: 'default', access_key: 'a', secret_key: 'b' },
      ],
      ['PUT', 'pools', { type: 'dedup', name: 'd', node_id: 'n1', path: '/d', encryption: true, key: {}, id: local }],
      ['PUT', 'access_keys', { name: 'k', pool: local }],
      ['POST', `pools/${cloud}?action=gc`, {}],
      ['POST', `pools/${cloud}?action=verify`, { sample: 0.5 }],
      ['POST', `pools/${cloud}?action=export_key`, { passphrase: 'long enough' }],
      ['PUT', 'sets', { name: 'a', description: 'd', labels: {} }],
      ['PUT', 'blocks', { name: 'a', pool_id: local, set_id: local, size: 10_000_000, source: file }],
      ['POST', `blocks/${block}?action=upload`, { pool_id: cloud, from_pool_id: local }],
      ['POST', `blocks/${block}?action=restore`, { target: file, from_pool_id: local }],
      ['PUT', 'blocks', { name: 'a', pool_id: local, source: { type: 'http', url: 'https://h/a', format: 'raw' }, bandwidth: 5 }],
      ['PUT', 'blocks', { name: 'a', pool_id: local, source: file, parent_block_id: block, changed_extents: [] }],
      ['POST', `blocks/${block}?action=restore`, { target: { type: 'nbd', uri: 'nbd://h/a' }, delta: true, bandwidth: 5 }],
      ['POST', `blocks/${block}?action=copy`, { pool_id: cloud, name: 'a', set_id: local, from_pool_id: local }],
      ['POST', `blocks/${block}?action=move`, { pool_id: cloud, from_pool_id: cloud }],
      ['POST', `blocks/${block}?action=verify`, { from_pool_id: local, sample: 0.5, repair: true }],
      ['POST', `blocks/${block}?action=undelete`, {}],
      ['PUT', 'cdm_instances', { block_id: block, node_id: 'n1', read_only: false, name: 'i', from_pool_id: local }],
      ['PUT', 'cdm_instances', { set_id: local }],
      ['POST', `cdm_instances/${instance}?action=save`, { pool_id: cloud, name: 's', set_id: local, bandwidth: 5 }],
      ['POST', `cdm_instances/${instance}?action=hydrate`, { pool_id: cloud, bandwidth: 5 }],
      ['POST', `cdm_instances/${instance}?action=rewind`, {}],
    ];
  });
  after(() => center?.stop());

  it('is taken, or refused with a problem; never a failure of ours', async function () {
    this.timeout(60_000);
    for (const [method, path, body] of requests) {
      const bodies = VALUES.flatMap((value) => [value, ...Object.keys(body).map((field) => ({ ...body, [field]: value }))]);
      if ('source' in body || 'target' in body) {
        const nested = 'source' in body ? 'source' : 'target';
        const inner = body[nested] as Record<string, unknown>;
        for (const value of VALUES)
          for (const field of Object.keys(inner)) bodies.push({ ...body, [nested]: { ...inner, [field]: value } });
      }
      for (const sent of bodies) {
        const answer = await center.send(method, path, sent);
        const told = `${method} ${path} ${JSON.stringify(sent)?.slice(0, 200)}: ${answer.text.slice(0, 300)}`;
        expect(answer.status, told).to.be.below(500);
        if (answer.status >= 400) expect(answer.body.code, told).to.be.a('string');
        expect(answer.text.length, told).to.be.below(10_000);
      }
    }
  });

  it('is taken, or refused with a problem, in the query and the path too', async () => {
    const values = ['', '%00', '%F0%9F%98%80', '%ff', "'", '..%2f', '9007199254740993', 'x'.repeat(5000)];
    const params = ['limit', 'marker', 'sort', 'filter', 'state', 'pool_id', 'set_id', 'node_id', 'kind', 'type', 'nope'];
    for (const list of ['pools', 'sets', 'blocks', 'cdm_instances', 'jobs', 'nodes']) {
      for (const value of values) {
        for (const param of params) {
          const answer = await center.send('GET', `${list}?${param}=${value}`);
          expect(answer.status, `${list}?${param}=${value.slice(0, 20)}: ${answer.text}`).to.be.oneOf([200, 422]);
        }
        if (value === '') continue;
        expect((await center.send('GET', `${list}/${value}`)).status, `${list}/${value.slice(0, 20)}`).to.equal(404);
      }
    }
  });
});
