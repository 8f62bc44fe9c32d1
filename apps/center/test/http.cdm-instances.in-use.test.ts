import { expect } from 'chai';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { load, loaded, remove } from './support/instances.ts';
import { fail, result, succeed } from './support/jobs.ts';

describe('http: a block that an instance reads', () => {
  let center: HttpCenter;
  let near: string;
  let far: string;
  let cloud: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    await center.addNode('n2');
    near = await center.pool('local');
    far = await center.pool('local', 'n2');
    cloud = await center.pool('s3');
  });
  after(() => center?.stop());

  const inUse = async (method: string, path: string, body: unknown, instance: string) => {
    const answer = await center.send(method, path, body);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([409, 'block_in_use']);
    expect(answer.body.instance_id).to.equal(instance);
    expect(answer.body.detail).to.include(instance).and.include('remove the instance first');
  };

  it('is neither deleted, purged nor moved; once the instance is gone, it is', async () => {
    const block = await center.block([near]);
    const id = await loaded(center, { block_id: block });
    await inUse('DELETE', `blocks/${block}`, undefined, id);
    await inUse('DELETE', `blocks/${block}?purge=true`, undefined, id);
    await inUse('POST', `blocks/${block}?action=move`, { pool_id: cloud }, id);
    expect((await center.send('POST', `blocks/${block}?action=verify`)).status, 'others may read it').to.equal(202);
    await center.database.query('DELETE FROM claims');
    await succeed(center, (await remove(center, id)).jobId, result({}));
    expect((await center.send('DELETE', `blocks/${block}`)).status).to.equal(202);
  });

  it('is held from the moment the load is accepted', async () => {
    const block = await center.block([near]);
    const { id, jobId } = await load(center, { block_id: block });
    const answer = await center.send('DELETE', `blocks/${block}`);
    expect([answer.body.code, answer.body.job_id]).to.deep.equal(['block_busy', jobId]);
    await inUse('POST', `blocks/${block}?action=move`, { pool_id: cloud }, id);
  });

  it('keeps the replica that is read, and lets go of others', async () => {
    const block = await center.block([near, far, cloud]);
    const id = await loaded(center, { block_id: block, node_id: 'n1' });
    await inUse('DELETE', `blocks/${block}?pool_id=${near}`, undefined, id);
    expect((await center.send('DELETE', `blocks/${block}?pool_id=${cloud}`)).status).to.equal(202);
  });

  it('keeps its pool, also from force', async () => {
    const pool = await center.pool('local');
    const id = await loaded(center, { block_id: await center.block([pool]) });
    await inUse('DELETE', `pools/${pool}?force=true`, undefined, id);
  });

  it('keeps its set from being deleted with its blocks', async () => {
    const set = (await center.send('PUT', 'sets', { name: 'used' })).body['set-id'];
    const [a, b] = [await center.block([near], set), await center.block([near], set)];
    const id = await loaded(center, { block_id: b });
    await inUse('DELETE', `sets/${set}?cascade=true`, undefined, id);
    for (const block of [a, b]) expect((await center.send('GET', `blocks/${block}`)).body.block.state).to.equal('available');
  });

  it('is not deleted or moved by a job that is tried again', async () => {
    const block = await center.block([near, far]);
    const started = async (method: string, path: string, body?: unknown): Promise<string> => {
      const answer = await center.send(method, path, body);
      expect(answer.status, answer.text).to.equal(202);
      return answer.body['job-id'];
    };
    const jobs: string[] = [];
    for (const begin of [
      () => started('POST', `blocks/${block}?action=move`, { pool_id: cloud, from_pool_id: near }),
      () => started('DELETE', `blocks/${block}?pool_id=${near}`),
      () => started('DELETE', `blocks/${block}`),
    ]) {
      const jobId = await begin();
      await fail(center, jobId);
      jobs.push(jobId);
    }
    const id = await loaded(center, { block_id: block, node_id: 'n1' });
    for (const jobId of jobs) {
      const answer = await center.send('POST', `jobs/${jobId}?action=retry`);
      expect([answer.status, answer.body.code], answer.text).to.deep.equal([409, 'job_not_retryable']);
      expect(answer.body.detail).to.include(id);
    }
  });

  it('a block in the trash, or on its way there, is not loaded', async () => {
    const block = await center.block([near]);
    const gone = (await center.send('DELETE', `blocks/${block}`)).body['job-id'];
    const answer = async () => (await center.send('PUT', 'cdm_instances', { block_id: block })).body.code;
    expect(await answer()).to.equal('block_not_available');
    await succeed(center, gone, result({ [near]: 'trashed' }));
    expect(await answer()).to.equal('block_not_available');
  });

  it('of a delete and a load at once one wins', async () => {
    for (let round = 0; round < 5; round++) {
      const block = await center.block([near]);
      const [put, del] = await Promise.all([
        center.send('PUT', 'cdm_instances', { block_id: block }),
        center.send('DELETE', `blocks/${block}`),
      ]);
      expect([put?.status, del?.status].toSorted(), `${put?.text} ${del?.text}`).to.deep.equal([202, 409]);
    }
  });
});
