import { expect } from 'chai';
import { Reconcile } from '../src/reconcile/reconcile.ts';
import { count, SIZE } from './support/database.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { commit, fail, jobOf, recordMove, result, succeed, tell } from './support/jobs.ts';
import { silent } from './support/plane.ts';

describe('http: copy and move', () => {
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

  const act = (id: string, action: string, body: unknown = {}) => center.send('POST', `blocks/${id}?action=${action}`, body);
  const problem = async (id: string, action: string, body: unknown, status: number, code: string) => {
    const answer = await act(id, action, body);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([status, code]);
    return answer.body;
  };
  const started = async (id: string, action: string, body: unknown) => {
    const answer = await act(id, action, body);
    expect(answer.status, answer.text).to.equal(202);
    return answer.body as { 'block-id': string; 'job-id': string };
  };
  const show = async (id: string) => (await center.send('GET', `blocks/${id}`)).body.block;
  const states = async (id: string) =>
    Object.fromEntries((await show(id)).replicas.map((one: { pool_id: string; state: string }) => [one.pool_id, one.state]));
  const counters = async (pool: string) => {
    const [row] = await center.database.query('SELECT stored_bytes, logical_bytes, block_count FROM pools WHERE id = ?', [pool]);
    return [row.stored_bytes, row.logical_bytes, row.block_count].map(Number);
  };
  /** A block with one counted replica. */
  const counted = async (pool: string) => {
    const id = await center.block([pool]);
    await center.database.query(
      'UPDATE pools SET stored_bytes = stored_bytes + 5000, logical_bytes = logical_bytes + ?, block_count = block_count + 1 WHERE id = ?',
      [SIZE, pool],
    );
    return id;
  };
  const reconcile = () =>
    new Reconcile({ database: center.database, log: silent }, { poke: () => undefined, nodes: center.deps.nodes }).pass();

  describe('copy', () => {
    it('makes a block of its own', async () => {
      const set = (await center.send('PUT', 'sets', { name: 'copies' })).body['set-id'];
      const id = await center.block([near]);
      const body = { pool_id: far, name: 'twin', set_id: set, bandwidth: 1e6 };
      const { 'block-id': twin, 'job-id': jobId } = await started(id, 'copy', body);
      const job = await jobOf(center, jobId);
      expect([job.kind, job.node_id, job.result_block_id]).to.deep.equal(['copy', 'n2', twin]);
      expect(job.params).to.deep.include({ from_pool_id: near, pool_id: far, new_block_id: twin, bandwidth: 1e6 });
      expect(job.params.meta).to.deep.include({ name: 'twin', set_id: set, set_name: 'copies' });
      expect(await show(twin)).to.deep.include({
        name: 'twin',
        state: 'creating',
        size: SIZE,
        set_id: set,
        source: { type: 'block', block_id: id },
      });
      expect((await center.send('GET', `jobs/${jobId}`)).body.job.result_block_id).to.equal(twin);
      const [before] = [await counters(far)];
      await succeed(center, jobId, result({ [far]: 'available' }, { verified: true, notes: ['It was quick.'] }));
      expect(await show(twin)).to.deep.include({ state: 'available', root_digest: 'ab'.repeat(32) });
      expect((await show(id)).replicas).to.have.length(1);
      expect(await counters(far)).to.deep.equal([before![0]! + 7000, before![1]! + SIZE, before![2]! + 1]);
      expect((await center.send('GET', `jobs/${jobId}`)).body.job.result.notes).to.deep.equal(['It was quick.']);
      expect((await center.send('GET', `sets/${set}`)).body.set.block_count).to.equal(1);
    });

    it('reads what the target has itself, where it has the block', async () => {
      const id = await center.block([near, cloud]);
      const job = await jobOf(center, (await started(id, 'copy', { pool_id: cloud }))['job-id']);
      expect(job.params.from_pool_id).to.equal(cloud);
      expect((await show(job.params.new_block_id)).name).to.equal((await show(id)).name);
    });

    it('keeps both ends: neither is deleted meanwhile, and the answer names the job', async () => {
      const id = await center.block([near]);
      const made = await started(id, 'copy', { pool_id: far });
      for (const block of [id, made['block-id']]) {
        const busy = await center.send('DELETE', `blocks/${block}`);
        expect([busy.status, busy.body.code, busy.body.job_id]).to.deep.equal([409, 'block_busy', made['job-id']]);
      }
      const reader = await act(id, 'upload', { pool_id: cloud });
      expect(reader.status, 'others may read').to.equal(202);
    });

    it('that failed leaves a block in error, which is tried again or deleted', async () => {
      const id = await center.block([near]);
      const made = await started(id, 'copy', { pool_id: far });
      await fail(center, made['job-id']);
      const twin = made['block-id'];
      expect(await show(twin)).to.deep.include({ state: 'error', replicas: [] });
      expect((await show(twin)).error.code).to.equal('access_denied');
      expect((await show(id)).state).to.equal('available');
      const again = (await center.send('POST', `jobs/${made['job-id']}?action=retry`)).body['job-id'];
      expect((await jobOf(center, again)).result_block_id).to.equal(twin);
      expect(await states(twin)).to.deep.equal({ [far]: 'creating' });
      await fail(center, again);
      const gone = await center.send('DELETE', `blocks/${twin}`);
      expect(gone.status, 'its node clears what may be left').to.equal(202);
      expect((await jobOf(center, gone.body['job-id'])).params).to.deep.include({ pool_ids: [far], trash: false });
      await succeed(center, gone.body['job-id'], result({ [far]: 'removed' }));
      expect((await center.send('GET', `blocks/${twin}`)).status).to.equal(404);
    });

    it('refuses what cannot be', async () => {
      const id = await center.block([near]);
      await problem(id, 'copy', {}, 422, 'invalid_request');
      await problem(id, 'copy', { pool_id: far, name: '' }, 422, 'invalid_request');
      await problem(id, 'copy', { pool_id: far, set_id: `set-${'0'.repeat(26)}` }, 404, 'set_not_found');
      await problem(id, 'copy', { pool_id: far, from_pool_id: cloud }, 404, 'replica_not_found');
      expect(await count(center.database, "blocks WHERE name = ''")).to.equal(0);
    });

    it('is one for one Idempotency-Key', async () => {
      const id = await center.block([near]);
      const headers = { 'Idempotency-Key': 'copy-1' };
      const [a, b] = [
        await center.send('POST', `blocks/${id}?action=copy`, { pool_id: far }, headers),
        await center.send('POST', `blocks/${id}?action=copy`, { pool_id: far }, headers),
      ];
      expect(a.body).to.deep.equal(b.body);
      expect(await count(center.database, "jobs WHERE block_id = ? AND kind = 'copy'", [id])).to.equal(1);
    });
  });

  describe('move', () => {
    const moved = (from: string, to: string) => result({ [to]: 'available', [from]: 'removed' }, { verified: true });
    const readBack = (to: string) => result({ [to]: 'available' }, { verified: true });
    const running = async (from: string, to: string) => {
      const id = await counted(from);
      const jobId = (await started(id, 'move', { pool_id: to }))['job-id'];
      await tell(center, jobId, 'running');
      return { id, jobId };
    };

    it('replica and counters go from one pool to the other', async () => {
      const [from, to] = [await counters(near), await counters(cloud)];
      const { id, jobId } = await running(near, cloud);
      expect((await jobOf(center, jobId)).params).to.deep.include({ from_pool_id: near, pool_id: cloud });
      expect(await commit(center, jobId)).to.equal(true);
      expect(await recordMove(center, jobId, readBack(cloud))).to.equal(true);
      expect(await states(id)).to.deep.equal({ [near]: 'deleting', [cloud]: 'available' });
      expect(await recordMove(center, jobId, readBack(cloud)), 'repeated').to.equal(true);
      await tell(center, jobId, 'succeeded', moved(near, cloud));
      expect(await states(id)).to.deep.equal({ [cloud]: 'available' });
      expect((await show(id)).replicas[0].verified_at).to.be.a('string');
      expect(await counters(near)).to.deep.equal(from);
      expect(await counters(cloud)).to.deep.equal([to[0]! + 7000, to[1]! + SIZE, to[2]! + 1]);
      expect(await count(center.database, 'claims WHERE job_id = ?', [jobId])).to.equal(0);
      expect(await recordMove(center, jobId, readBack(cloud)), 'an answer that was lost').to.equal(true);
    });

    it('has its source and the target for itself; readers of other replicas go on', async () => {
      const id = await center.block([near, cloud]);
      const { 'job-id': jobId } = await started(id, 'move', { pool_id: far, from_pool_id: near });
      expect((await problem(id, 'move', { pool_id: far, from_pool_id: cloud }, 409, 'block_busy')).job_id).to.equal(jobId);
      expect(
        (await problem(id, 'upload', { pool_id: await center.pool('s3'), from_pool_id: near }, 409, 'block_busy')).job_id,
      ).to.equal(jobId);
      const busy = await center.send('DELETE', `blocks/${id}`);
      expect([busy.status, busy.body.job_id]).to.deep.equal([409, jobId]);
      const reader = await started(id, 'upload', { pool_id: await center.pool('s3') });
      expect((await jobOf(center, reader['job-id'])).params.from_pool_id, 'not what is being moved').to.equal(cloud);
    });

    it('is recorded for the attempt that may commit, alone', async () => {
      const { id, jobId } = await running(near, cloud);
      expect(await recordMove(center, jobId, readBack(cloud)), 'before it may commit').to.equal(false);
      await commit(center, jobId);
      const { fence } = await jobOf(center, jobId);
      expect(await recordMove(center, jobId, readBack(cloud), { attempt: 2 })).to.equal(false);
      expect(await recordMove(center, jobId, readBack(cloud), { fence: fence - 1 })).to.equal(false);
      expect(await recordMove(center, jobId, readBack(cloud), { node: 'n2' })).to.equal(false);
      expect(await recordMove(center, jobId, result({ [cloud]: 'available' })), 'not read back').to.equal(false);
      expect(await recordMove(center, jobId, readBack(far)), 'of another pool').to.equal(false);
      expect(await states(id)).to.deep.equal({ [near]: 'available', [cloud]: 'creating' });
    });

    it('that fails before it is recorded leaves the source as it was', async () => {
      const { id, jobId } = await running(near, cloud);
      await fail(center, jobId);
      expect(await states(id)).to.deep.equal({ [near]: 'available' });
      const again = await center.send('POST', `jobs/${jobId}?action=retry`);
      expect(again.status, again.text).to.equal(202);
      expect(await states(id)).to.deep.equal({ [near]: 'available', [cloud]: 'creating' });
    });

    it('that fails after it was recorded never makes the source good again: reconcile has it removed', async () => {
      const { id, jobId } = await running(near, cloud);
      await commit(center, jobId);
      await recordMove(center, jobId, readBack(cloud));
      await fail(center, jobId, 'io_error');
      expect(await states(id)).to.deep.equal({ [near]: 'deleting', [cloud]: 'available' });
      const retried = await center.send('POST', `jobs/${jobId}?action=retry`);
      expect([retried.status, retried.body.code]).to.deep.equal([409, 'job_not_retryable']);
      await reconcile();
      await reconcile();
      const [removal, ...more] = await center.database.query("SELECT id FROM jobs WHERE block_id = ? AND kind = 'delete'", [id]);
      expect(more).to.deep.equal([]);
      expect((await jobOf(center, removal.id)).params).to.deep.include({ pool_ids: [near], trash: false });
      await fail(center, removal.id, 'io_error');
      expect(await states(id), 'its removal may have begun').to.deep.equal({ [near]: 'damaged', [cloud]: 'available' });
      const byHand = (await center.send('DELETE', `blocks/${id}?pool_id=${near}`)).body['job-id'];
      await succeed(center, byHand, result({ [near]: 'removed' }));
      expect(await states(id)).to.deep.equal({ [cloud]: 'available' });
    });

    it('what it left is not put into the trash with the block, but removed', async () => {
      const { id, jobId } = await running(near, cloud);
      await commit(center, jobId);
      await recordMove(center, jobId, readBack(cloud));
      await fail(center, jobId, 'io_error');
      const { body } = await center.send('DELETE', `blocks/${id}`);
      expect((await jobOf(center, body['job-id'])).params.pool_ids).to.deep.equal([cloud]);
      await reconcile();
      await succeed(center, body['job-id'], result({ [cloud]: 'trashed' }));
      expect(await states(id)).to.deep.equal({ [near]: 'deleting', [cloud]: 'trashed' });
      await reconcile();
      const jobs = await center.database.query("SELECT id FROM jobs WHERE block_id = ? AND kind = 'delete' ORDER BY id", [id]);
      await succeed(center, jobs[1].id, result({ [near]: 'removed' }));
      expect(await states(id)).to.deep.equal({ [cloud]: 'trashed' });
      expect((await show(id)).state).to.equal('trashed');
    });

    it('that dies after it was recorded is recorded again by its next attempt', async () => {
      const { id, jobId } = await running(near, cloud);
      await commit(center, jobId);
      await recordMove(center, jobId, readBack(cloud));
      await tell(center, jobId, 'failed');
      expect((await jobOf(center, jobId)).attempt).to.equal(2);
      await tell(center, jobId, 'running');
      expect(await recordMove(center, jobId, readBack(cloud)), 'before it may commit').to.equal(false);
      await commit(center, jobId);
      expect(await recordMove(center, jobId, readBack(cloud))).to.equal(true);
      await tell(center, jobId, 'succeeded', moved(near, cloud));
      expect(await states(id)).to.deep.equal({ [cloud]: 'available' });
    });

    it('asks which replica, where there are several; and refuses what cannot be', async () => {
      const id = await center.block([near, cloud]);
      const asked = await problem(id, 'move', { pool_id: far }, 422, 'invalid_request');
      expect(asked.errors[0].path).to.equal('from_pool_id');
      expect(asked.errors[0].message).to.include(near).and.include(cloud);
      await problem(id, 'move', { pool_id: cloud, from_pool_id: near }, 409, 'replica_exists');
      await problem(id, 'move', { pool_id: near, from_pool_id: near }, 422, 'invalid_request');
      await problem(id, 'move', { pool_id: far, from_pool_id: await center.pool('s3') }, 404, 'replica_not_found');
      await problem(await center.block([near]), 'move', { pool_id: near }, 409, 'replica_exists');
      await problem(id, 'move', {}, 422, 'invalid_request');
    });
  });
});
