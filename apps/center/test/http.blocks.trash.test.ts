import { expect } from 'chai';
import { Reconcile } from '../src/reconcile/reconcile.ts';
import { count } from './support/database.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { fail, jobOf, result, succeed, tell } from './support/jobs.ts';
import { silent } from './support/plane.ts';

const DAY = 24 * 3600_000;

describe('http: the trash', () => {
  let center: HttpCenter;
  let near: string;
  let cloud: string;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    near = await center.pool('local');
    cloud = await center.pool('s3');
  });
  after(() => center?.stop());

  const show = async (id: string) => (await center.send('GET', `blocks/${id}`)).body.block;
  const states = async (id: string) =>
    Object.fromEntries((await show(id)).replicas.map((one: { pool_id: string; state: string }) => [one.pool_id, one.state]));
  const started = async (method: string, path: string, body?: unknown) => {
    const answer = await center.send(method, path, body);
    expect(answer.status, answer.text).to.equal(202);
    return answer.body['job-id'] as string;
  };
  const refused = async (method: string, path: string, status: number, code: string) => {
    const answer = await center.send(method, path);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([status, code]);
    return answer.body;
  };
  const trashed = async (pools: string[], set?: string) => {
    const id = await center.block(pools, set);
    const jobId = await started('DELETE', `blocks/${id}`);
    await succeed(center, jobId, result(Object.fromEntries(pools.map((pool) => [pool, 'trashed']))));
    return id;
  };
  const purgeAt = async (id: string): Promise<number> => {
    const [row] = await center.database.query(
      'SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(3), purge_at) AS s FROM blocks WHERE id = ?',
      [id],
    );
    return Number(row.s) * 1000;
  };
  const due = (id: string) =>
    center.database.query('UPDATE blocks SET purge_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND WHERE id = ?', [id]);
  const reconcile = () =>
    new Reconcile({ database: center.database, log: silent }, { poke: () => undefined, nodes: center.deps.nodes }).pass();
  const deletesOf = (id: string): Promise<{ id: string }[]> =>
    center.database.query("SELECT id FROM jobs WHERE block_id = ? AND kind = 'delete' ORDER BY id", [id]);

  it('is not passed by when the delete of one replica is tried again after the others have gone', async () => {
    const id = await center.block([near, cloud]);
    const ofNear = await started('DELETE', `blocks/${id}?pool_id=${near}`);
    await fail(center, ofNear);
    // A delete of the whole block fails too, which the block remembers.
    await fail(center, await started('DELETE', `blocks/${id}`));
    const ofCloud = await started('DELETE', `blocks/${id}?pool_id=${cloud}`);
    await succeed(center, ofCloud, result({ [cloud]: 'removed' }));
    const again = await center.send('POST', `jobs/${ofNear}?action=retry`);
    expect([again.status, again.body.code], again.text).to.deep.equal([409, 'job_not_retryable']);
    expect((await show(id)).state).to.equal('available');
    expect(await states(id)).to.deep.equal({ [near]: 'available' });
  });

  it('takes a block with all its replicas, out of lists but still there to see', async () => {
    const id = await center.block([near, cloud]);
    const jobId = await started('DELETE', `blocks/${id}`);
    expect((await jobOf(center, jobId)).params).to.deep.include({ pool_ids: [near, cloud].sort(), trash: true, trash_ms: DAY });
    expect((await show(id)).state).to.equal('deleting');
    await succeed(center, jobId, result({ [near]: 'trashed', [cloud]: 'trashed' }));
    expect((await show(id)).state).to.equal('trashed');
    expect(await states(id)).to.deep.equal({ [near]: 'trashed', [cloud]: 'trashed' });
    expect(await purgeAt(id)).to.be.within(DAY - 60_000, DAY);
    expect(Date.parse((await show(id)).purge_at) - Date.now()).to.be.within(DAY - 60_000, DAY + 60_000);
    const ids = async (query: string) =>
      (await center.send('GET', `blocks?${query}`)).body.blocks.map((b: { id: string }) => b.id);
    expect(await ids('limit=1000')).not.to.include(id);
    expect(await ids(`pool_id=${near}`)).not.to.include(id);
    expect(await ids('state=trashed')).to.include(id);
    const again = await refused('DELETE', `blocks/${id}`, 409, 'block_not_available');
    expect(again.detail).to.include('undelete').and.include('purge=true');
    const used = await center.send('POST', `blocks/${id}?action=verify`);
    expect([used.status, used.body.detail]).to.satisfy(([s, d]: [number, string]) => s === 409 && d.includes('undelete'));
    expect((await center.send('DELETE', `pools/${near}`)).body.code, 'its bytes are there').to.equal('pool_in_use');
  });

  it('gives it back as it was, damage included', async () => {
    const id = await center.block([near, cloud]);
    await center.database.query("UPDATE replicas SET state = 'damaged' WHERE block_id = ? AND pool_id = ?", [id, cloud]);
    await succeed(center, await started('DELETE', `blocks/${id}`), result({ [near]: 'trashed', [cloud]: 'trashed' }));
    const jobId = await started('POST', `blocks/${id}?action=undelete`);
    const job = await jobOf(center, jobId);
    expect([job.kind, job.params.pool_ids]).to.deep.equal(['undelete', [near, cloud].sort()]);
    const busy = await refused('DELETE', `blocks/${id}?purge=true`, 409, 'block_busy');
    expect(busy.job_id).to.equal(jobId);
    await due(id);
    await reconcile();
    expect((await deletesOf(id)).length, 'no purge beside an undelete').to.equal(1);
    await fail(center, jobId);
    expect((await show(id)).state).to.equal('trashed');
    const retried = (await center.send('POST', `jobs/${jobId}?action=retry`)).body['job-id'];
    await succeed(center, retried, result({ [near]: 'available', [cloud]: 'available' }));
    expect((await show(id)).state).to.equal('available');
    expect(await states(id)).to.deep.equal({ [near]: 'available', [cloud]: 'damaged' });
    expect(await count(center.database, 'blocks WHERE id = ? AND purge_at IS NULL', [id])).to.equal(1);
    await refused('POST', `blocks/${id}?action=undelete`, 409, 'block_not_trashed');
  });

  it('a delete into it that failed leaves everything as it was', async () => {
    const id = await center.block([near]);
    const jobId = await started('DELETE', `blocks/${id}`);
    await fail(center, jobId);
    expect((await show(id)).state).to.equal('available');
    const again = (await center.send('POST', `jobs/${jobId}?action=retry`)).body['job-id'];
    await succeed(center, again, result({ [near]: 'trashed' }));
    expect((await show(id)).state).to.equal('trashed');
    expect(await purgeAt(id)).to.be.within(DAY - 60_000, DAY);
  });

  it('a block whose way there failed comes back too: a pool may have it in its trash already', async () => {
    const set = (await center.send('PUT', 'sets', { name: 'half' })).body['set-id'];
    const id = await center.block([near, cloud], set);
    await fail(center, await started('DELETE', `blocks/${id}`));
    expect((await show(id)).error).to.deep.include({ code: 'delete_failed' });
    expect((await show(id)).error.message).to.include('undelete');
    const jobId = await started('POST', `blocks/${id}?action=undelete`);
    expect((await jobOf(center, jobId)).params.pool_ids).to.deep.equal([near, cloud].sort());
    await succeed(center, jobId, result({ [near]: 'available', [cloud]: 'available' }));
    expect(await show(id)).to.deep.include({ state: 'available', error: null, set_id: set });
    expect((await center.send('GET', `sets/${set}`)).body.set.block_count).to.equal(1);
  });

  it('is emptied when the time has come, once, however many centers there are', async () => {
    const id = await trashed([near]);
    await reconcile();
    expect((await show(id)).state, 'not before').to.equal('trashed');
    await due(id);
    await Promise.all([reconcile(), reconcile(), reconcile()]);
    await reconcile();
    const jobs = await deletesOf(id);
    expect(jobs).to.have.length(2);
    const purge = jobs[1]!.id;
    expect((await jobOf(center, purge)).params).to.deep.include({ pool_ids: [near], trash: false });
    expect((await show(id)).state).to.equal('deleting');
    await refused('POST', `blocks/${id}?action=undelete`, 409, 'block_busy');
    await fail(center, purge);
    expect((await show(id)).state, 'back in the trash').to.equal('trashed');
    expect(await states(id)).to.deep.equal({ [near]: 'trashed' });
    expect(await purgeAt(id), 'and tried again later, not at once').to.be.above(50 * 60_000);
    await due(id);
    await reconcile();
    await succeed(center, (await deletesOf(id))[2]!.id, result({ [near]: 'removed' }));
    expect((await center.send('GET', `blocks/${id}`)).status).to.equal(404);
  });

  it('one block that cannot go holds up no other', async () => {
    const [stuck, other] = [await trashed([near]), await trashed([cloud])];
    await started('POST', `blocks/${stuck}?action=undelete`);
    await due(stuck);
    await due(other);
    await reconcile();
    expect(await deletesOf(stuck)).to.have.length(1);
    expect(await deletesOf(other)).to.have.length(2);
    expect(await purgeAt(stuck)).to.be.within(200_000, 300_000);
  });

  it('purge=true goes past it, and empties it of one block', async () => {
    const id = await center.block([near]);
    const jobId = await started('DELETE', `blocks/${id}?purge=true`);
    expect((await jobOf(center, jobId)).params).to.deep.equal({ block_id: id, pool_ids: [near], trash: false });
    await fail(center, jobId);
    expect((await show(id)).state).to.equal('available');
    const other = await trashed([near]);
    await succeed(center, await started('DELETE', `blocks/${other}?purge=true`), result({ [near]: 'removed' }));
    expect((await center.send('GET', `blocks/${other}`)).status).to.equal(404);
    await refused('DELETE', `blocks/${id}?purge=yes`, 422, 'invalid_request');
    await refused('DELETE', `blocks/${id}?purge=true&pool_id=${near}`, 422, 'invalid_request');
  });

  it('without a window there is none', async () => {
    center.deps.trashMs = 0;
    const id = await center.block([near]);
    const jobId = await started('DELETE', `blocks/${id}`);
    center.deps.trashMs = DAY;
    expect((await jobOf(center, jobId)).params.trash).to.equal(false);
    await succeed(center, jobId, result({ [near]: 'removed' }));
    expect((await center.send('GET', `blocks/${id}`)).status).to.equal(404);
  });

  it('one replica alone is removed for good', async () => {
    const id = await center.block([near, cloud]);
    const jobId = await started('DELETE', `blocks/${id}?pool_id=${near}`);
    expect((await jobOf(center, jobId)).params.trash).to.equal(false);
    await succeed(center, jobId, result({ [near]: 'removed' }));
    expect(await states(id)).to.deep.equal({ [cloud]: 'available' });
  });

  describe('and sets', () => {
    const countOf = async (set: string) => (await center.send('GET', `sets/${set}`)).body.set;

    it('a block in it is not of its set until it comes back', async () => {
      const set = (await center.send('PUT', 'sets', { name: 'kept' })).body['set-id'];
      const [kept, gone] = [await center.block([near], set), await trashed([near], set)];
      expect(await countOf(set)).to.deep.include({ block_count: 1 });
      expect((await countOf(set)).blocks.map((b: { id: string }) => b.id)).to.deep.equal([kept]);
      await succeed(center, await started('POST', `blocks/${gone}?action=undelete`), result({ [near]: 'available' }));
      expect(await countOf(set)).to.deep.include({ block_count: 2 });
      expect((await show(gone)).set_id).to.equal(set);
      const purged = await trashed([near], set);
      await succeed(center, await started('DELETE', `blocks/${purged}?purge=true`), result({ [near]: 'removed' }));
      expect(await countOf(set), 'what was not counted is not counted off').to.deep.include({ block_count: 2 });
      await succeed(center, await started('DELETE', `blocks/${kept}?purge=true`), result({ [near]: 'removed' }));
      expect(await countOf(set)).to.deep.include({ block_count: 1 });
    });

    it('cascade puts its blocks there; a set with none but those goes, and they come back without one', async () => {
      const set = (await center.send('PUT', 'sets', { name: 'going' })).body['set-id'];
      const early = await trashed([near], set);
      const id = await center.block([near], set);
      await refused('DELETE', `sets/${set}`, 409, 'set_not_empty');
      const gone = await center.send('DELETE', `sets/${set}?cascade=true`);
      expect(gone.body['job-ids']).to.have.length(1);
      await succeed(center, gone.body['job-ids'][0], result({ [near]: 'trashed' }));
      for (const block of [early, id]) {
        expect((await show(block)).state).to.equal('trashed');
        await succeed(center, await started('POST', `blocks/${block}?action=undelete`), result({ [near]: 'available' }));
        expect(await show(block)).to.deep.include({ state: 'available', set_id: null });
      }
      const other = (await center.send('PUT', 'sets', { name: 'empty' })).body['set-id'];
      await trashed([near], other);
      expect((await center.send('DELETE', `sets/${other}`)).status).to.equal(200);
    });
  });

  it('a verify counts the replica that was mended as good, and takes a sample for no proof', async () => {
    const id = await center.block([near, cloud]);
    await center.database.query("UPDATE replicas SET state = 'damaged' WHERE block_id = ? AND pool_id = ?", [id, cloud]);
    const damage = [{ pool_id: cloud, message: 'Chunk 3 was damaged and is mended.' }];
    const sample = await started('POST', `blocks/${id}?action=verify`, { sample: 0.5 });
    await succeed(center, sample, result({ [near]: 'available', [cloud]: 'available' }));
    expect(await states(id)).to.deep.equal({ [near]: 'available', [cloud]: 'damaged' });
    const repair = await started('POST', `blocks/${id}?action=verify`, { repair: true });
    expect((await jobOf(center, repair)).params.repair_from).to.deep.equal([near]);
    await tell(center, repair, 'running');
    await tell(center, repair, 'succeeded', result({ [near]: 'available', [cloud]: 'available' }, { damage }));
    expect(await states(id)).to.deep.equal({ [near]: 'available', [cloud]: 'available' });
    const found = await started('POST', `blocks/${id}?action=verify`, { sample: 0.5 });
    await succeed(center, found, result({}, { damage }));
    expect(await states(id)).to.deep.equal({ [near]: 'available', [cloud]: 'damaged' });
  });
});
