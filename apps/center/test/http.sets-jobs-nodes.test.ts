import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';

const UNKNOWN = '00000000000000000000000000';

describe('http: sets, jobs and nodes', () => {
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

  const problem = async (method: string, path: string, sent: unknown, status: number, code: string) => {
    const answer = await center.send(method, path, sent);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([status, code]);
    return answer.body;
  };

  it('creates, lists, shows and deletes a set', async () => {
    const made = await center.send('PUT', 'sets', { name: 'oracle', description: 'nightly', labels: { env: 'prod' } });
    expect(made.status).to.equal(201);
    const id = made.body['set-id'];
    const { set } = (await center.send('GET', `sets/${id}`)).body;
    expect(set).to.deep.include({
      id,
      name: 'oracle',
      description: 'nightly',
      labels: { env: 'prod' },
      block_count: 0,
      blocks: [],
    });
    expect((await center.send('GET', 'sets?filter=ORA')).body.sets[0].id).to.equal(id);
    expect((await center.send('DELETE', `sets/${id}`)).status).to.equal(200);
    await problem('GET', `sets/${id}`, undefined, 404, 'set_not_found');
    await problem('DELETE', `sets/${id}`, undefined, 404, 'set_not_found');
  });

  for (const [what, body, path] of [
    ['no name', {}, 'name'],
    ['a long description', { name: 'a', description: 'x'.repeat(1025) }, 'description'],
    ['labels that are a list', { name: 'a', labels: [] }, 'labels'],
    ['a label that is a number', { name: 'a', labels: { a: 1 } }, 'labels.a'],
    ['an unknown field', { name: 'a', blocks: [] }, 'blocks'],
    ['null', null, 'name'],
  ] as [string, unknown, string][]) {
    it(`refuses a set with ${what}`, async () => {
      const found = await problem('PUT', 'sets', body, 422, 'invalid_request');
      if (body !== null) expect(found.errors.map((e: { path: string }) => e.path)).to.include(path);
    });
  }

  it('keeps a set with blocks, unless cascade deletes them all or none', async () => {
    const id = (await center.send('PUT', 'sets', { name: 'full' })).body['set-id'];
    const [a, b] = [await center.block([pool], id), await center.block([pool], id)];
    await problem('DELETE', `sets/${id}`, undefined, 409, 'set_not_empty');
    await problem('DELETE', `sets/${id}?cascade=yes`, undefined, 422, 'invalid_request');
    const verify = await center.send('POST', `blocks/${b}?action=verify`);
    const busy = await problem('DELETE', `sets/${id}?cascade=true`, undefined, 409, 'block_busy');
    expect(busy.job_id).to.equal(verify.body['job-id']);
    expect((await center.send('GET', `blocks/${a}`)).body.block.state).to.equal('available');
    await center.database.query('DELETE FROM claims');
    const operator = { Authorization: `Bearer ${await center.tokenFor('operator')}` };
    expect((await center.send('DELETE', `sets/${id}?cascade=true`, undefined, operator)).status).to.equal(403);
    const gone = await center.send('DELETE', `sets/${id}?cascade=true`);
    expect(gone.status, gone.text).to.equal(202);
    expect(gone.body['job-ids']).to.have.length(2);
    const jobs = (await center.send('GET', gone.headers.get('Location') ?? '')).body.jobs;
    expect(jobs.map((job: { id: string }) => job.id)).to.have.members(gone.body['job-ids']);
    expect((await center.send('GET', `blocks/${a}`)).body.block).to.deep.include({ state: 'deleting', set_id: null });
    await problem('GET', `sets/${id}`, undefined, 404, 'set_not_found');
  });

  it('cancels a job, retries it as a new one, and refuses what cannot be', async () => {
    const block = await center.block([pool]);
    const verify = (await center.send('POST', `blocks/${block}?action=verify`)).body['job-id'];
    await problem('POST', `jobs/${verify}?action=retry`, undefined, 409, 'job_not_retryable');
    await problem('POST', `jobs/${verify}?action=resume`, {}, 409, 'job_not_paused');
    await problem('POST', `jobs/${verify}?action=stop`, undefined, 422, 'invalid_request');
    await problem('POST', `jobs/${verify}?action=cancel`, { why: 1 }, 422, 'invalid_request');
    const cancelled = await center.send('POST', `jobs/${verify}?action=cancel`);
    expect(cancelled.status, cancelled.text).to.equal(202);
    const { job } = (await center.send('GET', `jobs/${verify}`)).body;
    expect(job.state).to.equal('cancelled');
    expect(job.finished_at).to.be.a('string');
    const retried = await center.send('POST', `jobs/${verify}?action=retry`);
    expect(retried.status, retried.text).to.equal(202);
    expect(retried.body['job-id']).not.to.equal(verify);
    await problem('POST', `jobs/job-${UNKNOWN}?action=cancel`, undefined, 404, 'job_not_found');
    await problem('GET', `jobs/job-${UNKNOWN}`, undefined, 404, 'job_not_found');
    await problem('GET', 'jobs?state=asleep', undefined, 422, 'invalid_request');
    await problem('GET', 'jobs?sort=name', undefined, 422, 'invalid_request');
    const list = (await center.send('GET', `jobs?block_id=${block}&kind=verify&node_id=n1`)).body.jobs;
    expect(list).to.have.length(2);
  });

  it('drains a node, which then takes no new jobs, and activates it', async () => {
    const block = await center.block([pool]);
    expect((await center.send('POST', 'nodes/n1?action=drain')).body.node).to.deep.include({ id: 'n1', state: 'draining' });
    await problem('POST', `blocks/${block}?action=verify`, undefined, 409, 'node_draining');
    await problem('PUT', 'pools', { type: 'local', name: 'x', node_id: 'n1', path: '/x' }, 409, 'node_draining');
    await problem('PUT', 'pools', { type: 'dedup', name: 'x', node_id: 'n1', path: '/x' }, 409, 'node_draining');
    expect((await center.send('POST', 'nodes/n1?action=activate')).body.node.state).to.equal('online');
    expect((await center.send('POST', `blocks/${block}?action=verify`)).status).to.equal(202);
    const operator = { Authorization: `Bearer ${await center.tokenFor('operator')}` };
    expect((await center.send('POST', 'nodes/n1?action=drain', undefined, operator)).status).to.equal(403);
    const list = (await center.send('GET', 'nodes?state=online')).body;
    expect(list.nodes[0]).to.deep.include({ id: 'n1', import_roots: ['/in'], version: '1' });
    await problem('GET', 'nodes/nobody', undefined, 404, 'node_not_found');
    await problem('GET', 'nodes/NO_BODY', undefined, 404, 'node_not_found');
    await center.addNode('away', 'offline');
    await problem('POST', 'nodes/away?action=drain', undefined, 409, 'node_not_online');
  });
});
