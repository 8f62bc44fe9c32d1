import { inTransaction } from '@openservice/store';
import { expect } from 'chai';
import { applyEvent } from '../src/ingest/apply-event.ts';
import { event } from './support/events.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { jobOf } from './support/jobs.ts';

const UNKNOWN = '00000000000000000000000000';

describe('http: blocks', () => {
  let center: HttpCenter;
  let local: string;
  let cloud: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    await center.addNode('n2');
    local = await center.pool('local');
    cloud = await center.pool('s3');
  });
  after(() => center?.stop());

  const body = (changes: Record<string, unknown> = {}) => ({
    name: 'disk',
    pool_id: local,
    source: { type: 'file', path: '/in/disk.img' },
    ...changes,
  });
  const problem = async (method: string, path: string, sent: unknown, status: number, code: string) => {
    const answer = await center.send(method, path, sent);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([status, code]);
    return answer.body;
  };
  const endJobs = async () => {
    await center.database.query('DELETE FROM claims');
  };

  it('imports a file: 202, a job at Location, block and replica in creating', async () => {
    const pokes = center.pokes();
    const made = await center.send('PUT', 'blocks', body());
    expect(made.status, made.text).to.equal(202);
    expect(made.body['block-id']).to.match(/^block-/);
    expect(made.headers.get('Location')).to.equal(`/openstore_v1/jobs/${made.body['job-id']}`);
    expect(center.pokes()).to.equal(pokes + 1);
    const { block } = (await center.send('GET', `blocks/${made.body['block-id']}`)).body;
    expect(block).to.deep.include({ name: 'disk', size: 10_000_000, state: 'creating', root_digest: null, error: null });
    expect(block.source).to.deep.equal({ type: 'file', node_id: 'n1', path: '/in/disk.img', format: 'raw' });
    expect(block.replicas[0]).to.deep.include({ pool_id: local, state: 'creating', verified_at: null });
    const { job } = (await center.send('GET', made.headers.get('Location') ?? '')).body;
    expect(job).to.deep.include({
      kind: 'import',
      state: 'queued',
      node_id: 'n1',
      bytes_total: 10_000_000,
      attempt: 1,
      error: null,
    });
    expect(job.history[0]).to.deep.include({ from_state: null, to_state: 'queued' });
    const busy = await problem('DELETE', `blocks/${block.id}`, undefined, 409, 'block_busy');
    expect(busy.job_id).to.equal(job.id);
  });

  it('puts the block into its set', async () => {
    const set = (await center.send('PUT', 'sets', { name: 'db' })).body['set-id'];
    const made = await center.send(
      'PUT',
      'blocks',
      body({ set_id: set, pool_id: cloud, source: { type: 'file', node_id: 'n2', path: '/in/x' } }),
    );
    const shown = (await center.send('GET', `sets/${set}`)).body.set;
    expect(shown.block_count).to.equal(1);
    expect(shown.blocks[0].id).to.equal(made.body['block-id']);
    expect((await center.send('GET', `jobs?set_id=${set}`)).body.jobs[0]).to.deep.include({ node_id: 'n2' });
  });

  const bad: [string, () => unknown, string][] = [
    ['no name', () => body({ name: undefined }), 'name'],
    ['a long name', () => body({ name: 'x'.repeat(256) }), 'name'],
    ['a pool id of the wrong type', () => body({ pool_id: 7 }), 'pool_id'],
    ['a pool id of another kind', () => body({ pool_id: `set-${UNKNOWN}` }), 'pool_id'],
    ['an unknown field', () => body({ nope: 1 }), 'nope'],
    ['an unknown field in the source', () => body({ source: { type: 'file', path: '/a', mode: 1 } }), 'source.mode'],
    ['a relative source path', () => body({ source: { type: 'file', path: 'a' } }), 'source.path'],
    ['an unknown source', () => body({ source: { type: 'tape' } }), 'source.type'],
    ['a negative size', () => body({ size: -1 }), 'size'],
    ['size 0', () => body({ size: 0 }), 'size'],
    ['size 2^53', () => body({ size: 2 ** 53 }), 'size'],
    ['more than 64 TiB', () => body({ size: 64 * 2 ** 40 + 1 }), 'size'],
    ['half a byte', () => body({ size: 1.5 }), 'size'],
    ['a size that is text', () => body({ size: '10' }), 'size'],
    ['no node for an s3 pool', () => body({ pool_id: cloud }), 'source.node_id'],
  ];
  for (const [what, sent, path] of bad) {
    it(`refuses ${what}`, async () => {
      const found = await problem('PUT', 'blocks', sent(), 422, 'invalid_request');
      expect(found.errors.map((e: { path: string }) => e.path)).to.include(path);
    });
  }

  it('says what a block can be made of', async () => {
    await problem('PUT', 'blocks', body({ source: undefined }), 422, 'source_required');
    await problem('PUT', 'blocks', body({ size: 4096 }), 422, 'source_size_differs');
    await problem('PUT', 'blocks', body({ pool_id: `pool-${UNKNOWN}` }), 404, 'pool_not_found');
    await problem('PUT', 'blocks', body({ set_id: `set-${UNKNOWN}` }), 404, 'set_not_found');
  });

  it("passes on the node's refusal of a path, and makes nothing", async () => {
    const before = center.nodes.answers.source_probe;
    const [count] = await center.database.query('SELECT COUNT(*) AS n FROM blocks');
    center.nodes.refuse('source_probe', 'path_not_allowed');
    await problem('PUT', 'blocks', body(), 422, 'path_not_allowed');
    center.nodes.away('source_probe');
    await problem('PUT', 'blocks', body(), 503, 'node_unavailable');
    center.nodes.answers.source_probe = before;
    expect(await center.database.query('SELECT COUNT(*) AS n FROM blocks')).to.deep.equal([count]);
  });

  it('uploads: a further replica by the node that has one', async () => {
    const id = await center.block([local]);
    const made = await center.send('POST', `blocks/${id}?action=upload`, { pool_id: cloud });
    expect(made.status, made.text).to.equal(202);
    const job = await jobOf(center, made.body['job-id']);
    const { block } = (await center.send('GET', `blocks/${id}`)).body;
    expect(job.node_id).to.equal('n1');
    expect(job.params).to.deep.equal({
      block: { id, size: 10_000_000, chunk_size: 1_048_576, root_digest: 'ab'.repeat(32) },
      from_pool_id: local,
      pool_id: cloud,
      meta: { name: `disk ${id}`, set_id: null, set_name: null, parent_block_id: null, created_at: block.created_at },
    });
    const again = await problem('POST', `blocks/${id}?action=upload`, { pool_id: cloud }, 409, 'block_busy');
    expect(again.job_id).to.equal(made.body['job-id']);
    await problem('POST', `blocks/${id}?action=upload`, { pool_id: local }, 409, 'replica_exists');
    // Another target at the same time is fine: blocks and pools are shared.
    const second = await center.pool('s3');
    expect((await center.send('POST', `blocks/${id}?action=upload`, { pool_id: second })).status).to.equal(202);
    await endJobs();
  });

  it('refuses actions that cannot be', async () => {
    const id = await center.block([local, cloud]);
    await problem('POST', `blocks/${id}?action=upload`, { pool_id: cloud }, 409, 'replica_exists');
    await problem('POST', `blocks/${id}?action=upload`, {}, 422, 'invalid_request');
    await problem('POST', `blocks/${id}?action=upload`, { pool_id: `pool-${UNKNOWN}` }, 404, 'pool_not_found');
    await problem('POST', `blocks/${id}?action=upload`, { pool_id: cloud, x: 1 }, 422, 'invalid_request');
    await problem('POST', `blocks/${id}?action=explode`, {}, 422, 'invalid_request');
    await problem('POST', `blocks/${id}`, {}, 422, 'invalid_request');
    await problem('POST', `blocks/block-${UNKNOWN}?action=verify`, undefined, 404, 'block_not_found');
    await problem('POST', 'blocks/nonsense?action=verify', undefined, 404, 'block_not_found');
    const other = await center.pool('s3');
    await problem(
      'POST',
      `blocks/${id}?action=upload`,
      { pool_id: other, from_pool_id: `pool-${UNKNOWN}` },
      404,
      'replica_not_found',
    );
    await center.database.query("UPDATE blocks SET state = 'error' WHERE id = ?", [id]);
    for (const action of ['upload', 'restore', 'verify']) {
      await problem(
        'POST',
        `blocks/${id}?action=${action}`,
        action === 'verify' ? {} : { pool_id: other },
        409,
        'block_not_available',
      );
    }
  });

  it("restores into a pool by that pool's node", async () => {
    const far = await center.pool('local', 'n2');
    const id = await center.block([cloud]);
    const made = await center.send('POST', `blocks/${id}?action=restore`, { pool_id: far });
    expect(made.status, made.text).to.equal(202);
    expect((await center.send('GET', `jobs/${made.body['job-id']}`)).body.job).to.deep.include({
      kind: 'restore',
      node_id: 'n2',
    });
    // What lies in a directory of another node is read through that node's pool server.
    const onlyLocal = await center.block([local]);
    const across = await center.send('POST', `blocks/${onlyLocal}?action=restore`, { pool_id: far });
    const job = await jobOf(center, across.body['job-id']);
    expect([job.node_id, job.params.from_pool_id]).to.deep.equal(['n2', local]);
    await problem('POST', `blocks/${onlyLocal}?action=restore`, { pool_id: cloud, delta: true }, 422, 'invalid_request');
    await endJobs();
  });

  it('restores to a file, looked at by its node first', async () => {
    const id = await center.block([local, cloud]);
    const target = { type: 'file', path: '/in/out.img' };
    const made = await center.send('POST', `blocks/${id}?action=restore`, { target });
    expect(made.status, made.text).to.equal(202);
    expect(center.nodes.calls.at(-1)).to.deep.equal({
      nodeId: 'n1',
      method: 'target_probe',
      request: { target, size: 10_000_000, delta: false },
    });
    const byOther = await center.send('POST', `blocks/${id}?action=restore`, { target: { ...target, node_id: 'n2' } });
    const job = await jobOf(center, byOther.body['job-id']);
    expect([job.node_id, job.params.from_pool_id], 'what is compressed comes before what is not').to.deep.equal(['n2', cloud]);
    const asked = { target: { ...target, node_id: 'n2' }, from_pool_id: local, delta: true, bandwidth: 1e6 };
    const from = await jobOf(center, (await center.send('POST', `blocks/${id}?action=restore`, asked)).body['job-id']);
    expect(from.params).to.deep.include({ from_pool_id: local, delta: true, bandwidth: 1e6 });
    const nbd = { type: 'nbd', uri: 'nbd://h:10809/disk' };
    const toNbd = await jobOf(center, (await center.send('POST', `blocks/${id}?action=restore`, { target: nbd })).body['job-id']);
    expect([toNbd.node_id, toNbd.params.target]).to.deep.equal(['n1', nbd]);
    const secret = { target: { type: 'nbd', uri: 'nbd://me:word@h/disk' } };
    const refused = await problem('POST', `blocks/${id}?action=restore`, secret, 422, 'invalid_request');
    expect(refused.errors[0].path).to.equal('target.uri');
    expect(JSON.stringify(refused)).not.to.include('word@h');
    await problem('POST', `blocks/${id}?action=restore`, { target: { type: 'source' } }, 422, 'target_type_not_supported');
    await problem('POST', `blocks/${id}?action=restore`, {}, 422, 'invalid_request');
    await problem('POST', `blocks/${id}?action=restore`, { pool_id: cloud, target }, 422, 'invalid_request');
    await problem('POST', `blocks/${id}?action=restore`, { target: { ...target, node_id: 'nobody' } }, 404, 'node_not_found');
    const before = center.nodes.answers.target_probe;
    center.nodes.refuse('target_probe', 'path_not_allowed');
    await problem('POST', `blocks/${id}?action=restore`, { target }, 422, 'path_not_allowed');
    center.nodes.answers.target_probe = before;
    const inCloud = await center.block([cloud]);
    await problem('POST', `blocks/${inCloud}?action=restore`, { target }, 422, 'invalid_request');
    await endJobs();
  });

  it('verifies all replicas that the node reaches, or the one asked for', async () => {
    const id = await center.block([local, cloud]);
    const all = await center.send('POST', `blocks/${id}?action=verify`);
    expect(all.status, all.text).to.equal(202);
    expect(all.body.pool_ids).to.have.members([local, cloud]);
    const one = await center.send('POST', `blocks/${id}?action=verify`, { from_pool_id: cloud });
    expect(one.body.pool_ids).to.deep.equal([cloud]);
    expect((await jobOf(center, one.body['job-id'])).params).to.deep.include({ sample: 1, repair_from: [] });
    const repair = await center.send('POST', `blocks/${id}?action=verify`, { from_pool_id: cloud, repair: true, sample: 0.1 });
    expect((await jobOf(center, repair.body['job-id'])).params).to.deep.include({
      sample: 0.1,
      repair_from: [cloud, local].sort(),
    });
    const twice = await problem('POST', `blocks/${id}?action=verify`, { repair: true }, 409, 'block_busy');
    expect(twice.job_id, 'two repairs of one replica').to.equal(repair.body['job-id']);
    for (const sample of [0, 1.1, -1, '1'])
      await problem('POST', `blocks/${id}?action=verify`, { sample }, 422, 'invalid_request');
    await endJobs();
    const far = await center.pool('local', 'n2');
    const spread = await center.send('POST', `blocks/${await center.block([local, far])}?action=verify`);
    expect(spread.body.pool_ids, 'also where they are on several nodes').to.have.members([local, far]);
    await endJobs();
  });

  it('a delete that failed gives a damaged replica back as damaged, a good one as available', async () => {
    const id = await center.block([local, cloud]);
    await center.database.query("UPDATE replicas SET state = 'damaged' WHERE block_id = ? AND pool_id = ?", [id, cloud]);
    const { body: started } = await center.send('DELETE', `blocks/${id}`);
    const failed = { error: { code: 'access_denied', message: 'The key was refused.' }, transient: false, progress: null };
    const { node_id } = (await center.send('GET', `jobs/${started['job-id']}`)).body.job;
    await inTransaction(center.database, (manager) =>
      applyEvent(manager, event(started['job-id'], 1, 1, 'failed', failed, node_id)),
    );
    const { block } = (await center.send('GET', `blocks/${id}`)).body;
    expect(block.state).to.equal('available');
    const states = Object.fromEntries(block.replicas.map((one: { pool_id: string; state: string }) => [one.pool_id, one.state]));
    expect(states).to.deep.equal({ [local]: 'available', [cloud]: 'damaged' });
  });

  it('deletes a block by a job, and one replica by its pool', async () => {
    const id = await center.block([local, cloud]);
    const one = await center.send('DELETE', `blocks/${id}?pool_id=${local}`);
    expect(one.status, one.text).to.equal(202);
    let { block } = (await center.send('GET', `blocks/${id}`)).body;
    expect(block.state).to.equal('available');
    expect(block.replicas.map((r: { state: string }) => r.state)).to.have.members(['deleting', 'available']);
    await problem('DELETE', `blocks/${id}`, undefined, 409, 'block_busy');
    await endJobs();
    await center.database.query("DELETE FROM replicas WHERE state = 'deleting'");
    await problem('DELETE', `blocks/${id}?pool_id=${cloud}`, undefined, 409, 'last_replica');
    await problem('DELETE', `blocks/${id}?pool_id=${local}`, undefined, 404, 'replica_not_found');
    const whole = await center.send('DELETE', `blocks/${id}`);
    expect(whole.status).to.equal(202);
    block = (await center.send('GET', `blocks/${id}`)).body.block;
    expect([block.state, block.replicas[0].state]).to.deep.equal(['deleting', 'deleting']);
    await problem('DELETE', `blocks/block-${UNKNOWN}`, undefined, 404, 'block_not_found');
    await endJobs();
  });

  it('deletes replicas of several nodes by one job, and drops a block that is stored nowhere', async () => {
    const far = await center.pool('local', 'n2');
    const spread = await center.send('DELETE', `blocks/${await center.block([local, far])}`);
    expect((await jobOf(center, spread.body['job-id'])).params.pool_ids).to.have.members([local, far]);
    const lost = await center.block([]);
    expect((await center.send('DELETE', `blocks/${lost}`)).body).to.deep.equal({ 'block-id': lost, 'job-id': null });
    expect((await center.send('GET', `blocks/${lost}`)).status).to.equal(404);
  });

  it('a node that drains is passed over where another can do the work', async () => {
    await center.addNode('n3');
    const [draining, far] = [await center.pool('local', 'n3'), await center.pool('local', 'n2')];
    const id = await center.block([draining, far]);
    const alone = await center.block([draining]);
    await center.send('POST', 'nodes/n3?action=drain');
    const target = await center.pool('s3');
    const made = await center.send('POST', `blocks/${id}?action=upload`, { pool_id: target });
    expect((await jobOf(center, made.body['job-id'])).node_id).to.equal('n2');
    await problem('POST', `blocks/${alone}?action=upload`, { pool_id: target }, 409, 'node_draining');
    await problem('POST', `blocks/${id}?action=copy`, { pool_id: draining }, 409, 'node_draining');
    await problem('PUT', 'blocks', body({ pool_id: draining, source: undefined, size: 5 }), 409, 'node_draining');
    // What its pool server serves others still read.
    expect((await center.send('POST', `blocks/${alone}?action=copy`, { pool_id: far })).status).to.equal(202);
    await center.send('POST', 'nodes/n3?action=activate');
    await center.database.query("UPDATE nodes SET state = 'offline' WHERE id = 'n3'");
    await endJobs();
    const verify = await center.send('POST', `blocks/${id}?action=verify`);
    expect((await jobOf(center, verify.body['job-id'])).node_id, 'rather one that is there').to.equal('n2');
    await endJobs();
  });

  it('lists by pool, set, state and part of the name, taken literally', async () => {
    const own = await center.pool('s3');
    const id = await center.block([own]);
    await center.database.query("UPDATE blocks SET name = 'fifty_50% Oracle' WHERE id = ?", [id]);
    const ids = async (query: string) =>
      (await center.send('GET', `blocks?${query}`)).body.blocks.map((b: { id: string }) => b.id);
    expect(await ids(`pool_id=${own}`)).to.deep.equal([id]);
    expect(await ids('filter=50%25%20oracle')).to.deep.equal([id]);
    expect(await ids('filter=fifty%25oracle')).to.deep.equal([]);
    expect(await ids(`pool_id=${own}&state=error`)).to.deep.equal([]);
    expect(await ids(`set_id=set-${UNKNOWN}`)).to.deep.equal([]);
  });
});
