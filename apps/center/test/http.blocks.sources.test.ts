import { expect } from 'chai';
import { normalExtents } from '../src/services/extents.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { jobOf } from './support/jobs.ts';

const UNKNOWN = '00000000000000000000000000';
const SIZE = 10_000_000;

describe('http: sources of a block', () => {
  let center: HttpCenter;
  let near: string;
  let cloud: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    await center.addNode('n2');
    near = await center.pool('local');
    cloud = await center.pool('s3');
  });
  after(() => center?.stop());

  const url = 'https://images.example/disk.qcow2?signature=opensesame';
  const body = (changes: Record<string, unknown> = {}) => ({
    name: 'disk',
    pool_id: near,
    source: { type: 'http', url },
    ...changes,
  });
  const imported = async (sent: unknown) => {
    const made = await center.send('PUT', 'blocks', sent);
    expect(made.status, made.text).to.equal(202);
    const { block } = (await center.send('GET', `blocks/${made.body['block-id']}`)).body;
    return { block, job: await jobOf(center, made.body['job-id']) };
  };
  const refused = async (sent: unknown, status: number, code: string) => {
    const answer = await center.send('PUT', 'blocks', sent);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([status, code]);
    return answer.body;
  };
  const seeing = async (seen: unknown, work: () => Promise<void>) => {
    const before = center.nodes.answers.source_probe;
    center.nodes.answers.source_probe = () => seen;
    await work().finally(() => {
      center.nodes.answers.source_probe = before;
    });
  };

  it('http: the format and what the server says of the file go with the job; a signature in the URL is not shown', async () => {
    await seeing({ size: SIZE, format: 'qcow2', etag: '"v1"', last_modified: null }, async () => {
      const { block, job } = await imported(body({ bandwidth: 5e6 }));
      expect(job.params.source).to.deep.equal({
        type: 'http',
        url,
        format: 'qcow2',
        identity: { etag: '"v1"', last_modified: null },
      });
      expect(job.params.bandwidth).to.equal(5e6);
      expect(job.params.meta).to.deep.equal({
        name: 'disk',
        set_id: null,
        set_name: null,
        parent_block_id: null,
        created_at: block.created_at,
      });
      expect(block.source).to.deep.equal({ type: 'http', url: 'https://images.example/disk.qcow2?…', format: 'qcow2' });
    });
    expect(center.nodes.calls.at(-1)?.request).to.deep.equal({ source: { type: 'http', url, format: null } });
  });

  it('the node is the one asked for, else that of the pool, else any', async () => {
    expect((await imported(body())).job.node_id).to.equal('n1');
    expect((await imported(body({ source: { type: 'http', url, node_id: 'n2' } }))).job.node_id).to.equal('n2');
    const anywhere = await imported(body({ pool_id: cloud, source: { type: 'nbd', uri: 'nbd+unix:///disk?socket=/run/x' } }));
    expect(anywhere.job.node_id).to.be.oneOf(['n1', 'n2']);
    expect(anywhere.job.params.source).to.deep.equal({ type: 'nbd', uri: 'nbd+unix:///disk?socket=/run/x' });
    const across = await imported(body({ source: { type: 'file', node_id: 'n2', path: '/in/a', format: 'vmdk' } }));
    expect(across.job.node_id, 'a file is read by its own node, whatever the pool').to.equal('n2');
  });

  for (const [what, source, path] of [
    ['a password in an http URL', { type: 'http', url: 'https://me:secretword@h/x' }, 'source.url'],
    ['a user in an NBD URI', { type: 'nbd', uri: 'nbd://me@h/x' }, 'source.uri'],
    ['a URL of another kind', { type: 'http', url: 'ftp://h/x' }, 'source.url'],
    ['what is no URL', { type: 'http', url: 'disk.img' }, 'source.url'],
    ['an NBD URI that is none', { type: 'nbd', uri: 'http://h/x' }, 'source.uri'],
    ['a format that nobody reads', { type: 'file', path: '/in/a', format: 'tape' }, 'source.format'],
  ] as const) {
    it(`refuses ${what}, and does not repeat it`, async () => {
      const problem = await refused(body({ source }), 422, 'invalid_request');
      expect(problem.errors.map((one: { path: string }) => one.path)).to.include(path);
      expect(JSON.stringify(problem)).not.to.include('secretword');
    });
  }

  it('a parent: read where the target has it, else where it is best, and claimed', async () => {
    const parent = await center.block([near, cloud]);
    const extents = [
      { offset: 4096, length: 4096 },
      { offset: 0, length: 4096 },
      { offset: 9_000_000, length: 1 },
    ];
    const { block, job } = await imported(body({ parent_block_id: parent, changed_extents: extents }));
    expect(block.parent_block_id).to.equal(parent);
    expect(job.params.parent).to.deep.equal({
      block: { id: parent, size: SIZE, chunk_size: 1_048_576, root_digest: 'ab'.repeat(32) },
      pool_id: near,
    });
    expect(job.params.changed_extents).to.deep.equal([
      { offset: 0, length: 8192 },
      { offset: 9_000_000, length: 1 },
    ]);
    expect(job.params.meta.parent_block_id).to.equal(parent);
    const busy = await center.send('DELETE', `blocks/${parent}`);
    expect([busy.status, busy.body.job_id]).to.deep.equal([409, job.id]);
    const other = await imported(body({ pool_id: cloud, parent_block_id: parent }));
    expect([other.job.params.parent.pool_id, other.job.params.changed_extents]).to.deep.equal([cloud, null]);
  });

  it('takes a hundred thousand extents, and tells the node in a command that fits into one message', async function () {
    this.timeout(20_000);
    const parent = await center.block([near]);
    const size = 64 * 2 ** 40;
    await seeing({ size, format: 'raw', etag: null, last_modified: null }, async () => {
      const extents = Array.from({ length: 100_000 }, (_, i) => ({
        offset: size - 400_000_000 * (i + 1),
        length: 65_536 + (i % 7),
      }));
      const source = { type: 'file', path: '/in/a' };
      const { job } = await imported(body({ source, parent_block_id: parent, changed_extents: extents }));
      expect(job.params.changed_extents).to.have.length(20_000);
      expect(Buffer.byteLength(JSON.stringify(job.params))).to.be.below(1_000_000);
      const more = [...extents, { offset: 0, length: 1 }];
      expect(
        (await refused(body({ source, parent_block_id: parent, changed_extents: more }), 422, 'invalid_request')).errors[0].path,
      ).to.equal('changed_extents');
    });
  });

  it('refuses a parent or extents that cannot be', async () => {
    const parent = await center.block([near]);
    const extents = [{ offset: SIZE - 1, length: 2 }];
    const past = await refused(body({ parent_block_id: parent, changed_extents: extents }), 422, 'invalid_request');
    expect(past.errors[0].path).to.equal('changed_extents.0');
    const alone = await refused(body({ changed_extents: extents }), 422, 'invalid_request');
    expect(alone.errors[0].path).to.equal('changed_extents');
    await refused(body({ parent_block_id: parent, changed_extents: [{ offset: 0, length: 0 }] }), 422, 'invalid_request');
    await refused(body({ parent_block_id: `block-${UNKNOWN}` }), 404, 'block_not_found');
    await center.database.query("UPDATE blocks SET state = 'error' WHERE id = ?", [parent]);
    await refused(body({ parent_block_id: parent }), 409, 'block_not_available');
    for (const bandwidth of [0, -1, 'fast']) await refused(body({ bandwidth }), 422, 'invalid_request');
  });
});

describe('changed extents', () => {
  it('are sorted, joined where they touch or overlap', () => {
    const given = [
      { offset: 100, length: 50 },
      { offset: 0, length: 10 },
      { offset: 120, length: 100 },
      { offset: 10, length: 5 },
    ];
    expect(normalExtents(given, 1000)).to.deep.equal([
      { offset: 0, length: 15 },
      { offset: 100, length: 120 },
    ]);
  });

  it('are few enough for one message: the closest are joined, and nothing that changed is lost', () => {
    const given = Array.from({ length: 1000 }, (_, i) => ({ offset: i * 1000 + ((i * 37) % 400), length: 3 }));
    const few = normalExtents(given, 1_000_000, 100);
    expect(few.length).to.equal(100);
    const even = Array.from({ length: 1000 }, (_, i) => ({ offset: i * 1000, length: 3 }));
    expect(normalExtents(even, 1_000_000, 100).length, 'gaps that are all alike').to.equal(100);
    for (const one of given) {
      const holder = few.find(
        (extent) => extent.offset <= one.offset && extent.offset + extent.length >= one.offset + one.length,
      );
      expect(holder, JSON.stringify(one)).not.to.equal(undefined);
    }
    for (const [i, extent] of few.slice(1).entries()) expect(extent.offset).to.be.above(few[i]!.offset + few[i]!.length);
  });
});
