import { expect } from 'chai';
import { count, DIGEST, SIZE } from './support/database.ts';
import { type HttpCenter, httpCenter } from './support/http-center.ts';
import { act, load, loaded, remove, saved, show } from './support/instances.ts';
import { commit, fail, jobOf, result, succeed } from './support/jobs.ts';

describe('http: saving, rewinding, hydrating and removing instances', () => {
  let center: HttpCenter;
  let near: string;
  let near2: string;
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
    near2 = await center.pool('local');
    far = await center.pool('local', 'n2');
    cloud = await center.pool('s3');
  });
  after(() => center?.stop());

  const problem = async (method: string, path: string, body: unknown, status: number, code: string) => {
    const answer = await center.send(method, `cdm_instances/${path}`, body);
    expect([answer.status, answer.body.code], answer.text).to.deep.equal([status, code]);
    return answer.body;
  };
  const block = async (id: string) => (await center.send('GET', `blocks/${id}`)).body.block;
  const isGone = async (id: string) => {
    expect((await center.send('GET', `cdm_instances/${id}`)).status).to.equal(404);
    expect(await count(center.database, 'cdm_instance_disks WHERE instance_id = ?', [id])).to.equal(0);
  };
  const claimsOf = async (jobId: string) =>
    (await center.database.query('SELECT resource, mode FROM claims WHERE job_id = ?', [jobId])).map(
      (one: { resource: string; mode: string }) => `${one.mode} ${one.resource}`,
    );
  /** A loaded instance of a block in `pool`, served by n1. */
  const instance = async (pool = near, more: Record<string, unknown> = {}) => {
    const base = await center.block([pool]);
    return { base, id: await loaded(center, { block_id: base, node_id: 'n1', ...more }) };
  };
  const ofSet = async (name: string) => {
    const set = (await center.send('PUT', 'sets', { name })).body['set-id'];
    const bases = [await center.block([near], set), await center.block([cloud], set)].toSorted();
    return { set, bases, id: await loaded(center, { set_id: set, node_id: 'n1' }) };
  };

  describe('remove', () => {
    it('takes it from its node, and then its rows', async () => {
      const { id } = await instance();
      const { jobId, blockIds } = await remove(center, id);
      const job = await jobOf(center, jobId);
      expect([job.kind, job.node_id, job.params, blockIds]).to.deep.equal(['unload', 'n1', { instance_id: id, save: null }, []]);
      expect((await show(center, id)).state).to.equal('removing');
      expect((await problem('DELETE', id, undefined, 409, 'instance_busy')).job_id).to.equal(jobId);
      await succeed(center, jobId, result({}));
      await isGone(id);
      await problem('DELETE', id, undefined, 404, 'cdm_instance_not_found');
    });

    it('also from a node that drains', async () => {
      const { id } = await instance();
      await center.database.query("UPDATE nodes SET state = 'draining' WHERE id = 'n1'");
      const { jobId } = await remove(center, id);
      await center.database.query("UPDATE nodes SET state = 'online' WHERE id = 'n1'");
      await succeed(center, jobId, result({}));
      await isGone(id);
    });

    it('with save makes a block of each disk first, in its base\u2019s pool and set', async () => {
      const { set, bases, id } = await ofSet('saved');
      const { jobId, blockIds } = await remove(center, id, '?save=true');
      const { params } = await jobOf(center, jobId);
      const pools = (await show(center, id)).disks.map((disk: { pool_id: string }) => disk.pool_id);
      expect(
        params.save.map((one: { index: number; block_id: string; pool_id: string }) => [one.index, one.block_id, one.pool_id]),
      ).to.deep.equal([0, 1].map((n) => [n, blockIds[n], pools[n]]));
      expect(params.save[1].meta).to.deep.include({ name: 'saved 2', set_id: set, set_name: 'saved', parent_block_id: bases[1] });
      expect(await block(blockIds[0] ?? '')).to.deep.include({
        name: 'saved 1',
        state: 'creating',
        size: SIZE,
        set_id: set,
        parent_block_id: bases[0],
        source: { type: 'instance', instance_id: id, block_id: bases[0], job_id: jobId },
      });
      expect((await center.send('GET', `sets/${set}`)).body.set.block_count).to.equal(4);
      expect(await claimsOf(jobId)).to.include.members([
        `exclusive instance:${id}`,
        ...blockIds.map((one) => `exclusive block:${one}`),
        ...bases.map((one) => `shared block:${one}`),
        `shared pool:${near}`,
        `shared pool:${cloud}`,
      ]);
      await succeed(center, jobId, await saved(center, jobId));
      await isGone(id);
      for (const [n, made] of blockIds.entries()) {
        const shown = await block(made);
        expect(shown).to.deep.include({ state: 'available', root_digest: DIGEST, size: SIZE });
        expect(shown.replicas.map((one: Record<string, unknown>) => [one.pool_id, one.state, one.stored_bytes])).to.deep.equal([
          [pools[n], 'available', 700],
        ]);
      }
      const again = await loaded(center, { block_id: blockIds[0] });
      expect((await show(center, again)).name, 'an instance of what an instance was').to.equal('saved 1');
    });

    it('with save goes to the pool that is asked for', async () => {
      const { id } = await instance();
      const { jobId } = await remove(center, id, `?save=true&pool_id=${cloud}`);
      const job = await jobOf(center, jobId);
      expect(job.params.save[0].pool_id).to.equal(cloud);
      expect(job.result_block_id).to.equal(job.params.save[0].block_id);
    });

    it('that failed gives it back, says why, and leaves the new block in error; retried, both are on their way again', async () => {
      const { id, base } = await instance();
      const { jobId, blockIds } = await remove(center, id, '?save=true');
      await fail(center, jobId, 'no_space');
      const shown = await show(center, id);
      expect(shown.state).to.equal('loaded');
      expect(shown.error).to.deep.equal({ code: 'unload_failed', message: 'no_space: The key was refused.' });
      expect(await block(blockIds[0] ?? '')).to.deep.include({ state: 'error', replicas: [] });
      expect((await block(base)).state).to.equal('available');
      const next = (await center.send('POST', `jobs/${jobId}?action=retry`)).body['job-id'];
      expect((await show(center, id)).state).to.equal('removing');
      expect((await block(blockIds[0] ?? '')).state).to.equal('creating');
      await succeed(center, next, await saved(center, next));
      await isGone(id);
      expect((await block(blockIds[0] ?? '')).state).to.equal('available');
    });

    it('refuses what contradicts itself', async () => {
      const { id } = await instance();
      for (const [query, path] of [
        ['save=yes', 'query.save'],
        [`pool_id=${cloud}`, 'query.pool_id'],
        ['save=true&pool_id=x', 'query.pool_id'],
        ['save=true&force=true', 'query.force'],
        ['purge=true', 'query.purge'],
      ] as const) {
        const found = await problem('DELETE', `${id}?${query}`, undefined, 422, 'invalid_request');
        expect(found.errors[0].path).to.equal(path);
      }
      await problem('DELETE', `${id}?save=true&pool_id=pool-${'0'.repeat(26)}`, undefined, 404, 'pool_not_found');
      const ro = await instance(near, { read_only: true });
      await problem('DELETE', `${ro.id}?save=true`, undefined, 409, 'instance_read_only');
      await remove(center, ro.id);
    });

    it('is once for one Idempotency-Key', async () => {
      const { id } = await instance();
      const send = () => center.send('DELETE', `cdm_instances/${id}?save=true`, undefined, { 'Idempotency-Key': 'rm-1' });
      const [a, b] = [await send(), await send()];
      expect(a.status, a.text).to.equal(202);
      expect(a.body).to.deep.equal(b.body);
    });
  });

  describe('remove by force', () => {
    const nodeIs = (state: string) => center.database.query("UPDATE nodes SET state = ? WHERE id = 'n1'", [state]);
    afterEach(() => nodeIs('online'));

    it('forgets what is on a node that is gone, with a warning in the audit', async () => {
      const { id, base } = await instance();
      await problem('DELETE', `${id}?force=true`, undefined, 409, 'node_online');
      await nodeIs('offline');
      const operator = { Authorization: `Bearer ${await center.tokenFor('operator')}` };
      expect((await center.send('DELETE', `cdm_instances/${id}?force=true`, undefined, operator)).status).to.equal(403);
      const gone = await center.send('DELETE', `cdm_instances/${id}?force=true`);
      expect([gone.status, gone.body]).to.deep.equal([200, { 'ins-id': id, 'job-id': null }]);
      await isGone(id);
      const [line] = await center.database.query(
        "SELECT detail FROM audit WHERE action = 'cdm_instance.forget' AND resource = ?",
        [id],
      );
      expect(JSON.stringify(line.detail)).to.include('was not asked');
      await nodeIs('online');
      expect((await center.send('DELETE', `blocks/${base}`)).status, 'its block is free').to.equal(202);
    });

    it('ends the jobs on it, and what they were making', async () => {
      const { id } = await instance();
      const { jobId, blockIds } = await act(center, id, 'save');
      await nodeIs('offline');
      expect((await center.send('DELETE', `cdm_instances/${id}?force=true`)).status).to.equal(200);
      expect((await jobOf(center, jobId)).state).to.equal('cancelled');
      expect((await block(blockIds[0] ?? '')).state).to.equal('error');
      const waiting = await load(center, { block_id: await center.block([near]) });
      expect((await center.send('DELETE', `cdm_instances/${waiting.id}?force=true`)).status).to.equal(200);
      expect((await jobOf(center, waiting.jobId)).state).to.equal('cancelled');
      await isGone(waiting.id);
    });

    it('takes one in error from a node that is there', async () => {
      const { id } = await instance();
      await center.database.query("UPDATE cdm_instances SET state = 'error' WHERE id = ?", [id]);
      expect((await center.send('DELETE', `cdm_instances/${id}?force=true`)).status).to.equal(200);
    });
  });

  describe('save', () => {
    it('makes a block of what it holds, and it goes on', async () => {
      const { id, base } = await instance();
      const set = (await center.send('PUT', 'sets', { name: 'kept' })).body['set-id'];
      const { jobId, blockIds } = await act(center, id, 'save', {
        pool_id: cloud,
        name: 'before upgrade',
        set_id: set,
        bandwidth: 1e6,
      });
      const job = await jobOf(center, jobId);
      expect([job.kind, job.params.bandwidth, job.result_block_id]).to.deep.equal(['save', 1e6, blockIds[0]]);
      expect(await block(blockIds[0] ?? '')).to.deep.include({ name: 'before upgrade', set_id: set, parent_block_id: base });
      expect((await show(center, id)).state).to.equal('loaded');
      await problem('POST', `${id}?action=rewind`, {}, 409, 'instance_busy');
      expect(await commit(center, jobId)).to.equal(true);
      await succeed(center, jobId, await saved(center, jobId));
      expect((await block(blockIds[0] ?? '')).state).to.equal('available');
      expect(await show(center, id)).to.deep.include({ state: 'loaded', error: null });
      await act(center, id, 'save');
    });

    it('that failed is tried again, or its blocks are deleted with what is left of them', async () => {
      const { id } = await instance();
      const { jobId, blockIds } = await act(center, id, 'save', { pool_id: cloud });
      await fail(center, jobId, 'no_space');
      expect((await show(center, id)).error.code).to.equal('save_failed');
      const next = (await center.send('POST', `jobs/${jobId}?action=retry`)).body['job-id'];
      expect((await jobOf(center, next)).result_block_id).to.equal(blockIds[0]);
      await fail(center, next, 'no_space');
      const gone = await center.send('DELETE', `blocks/${blockIds[0]}`);
      expect(gone.status, gone.text).to.equal(202);
      expect((await jobOf(center, gone.body['job-id'])).params).to.deep.include({ pool_ids: [cloud], trash: false });
      const { jobId: third } = await act(center, id, 'save');
      await succeed(center, third, await saved(center, third));
      expect((await show(center, id)).error, 'a success ends it').to.equal(null);
    });

    it('of which the node says nothing of a disk leaves that one in error', async () => {
      const { id } = await ofSet('partly');
      const { jobId, blockIds } = await act(center, id, 'save');
      const end = await saved(center, jobId);
      await succeed(center, jobId, { ...end, blocks: end.blocks?.slice(0, 1), replicas: end.replicas.slice(0, 1) });
      expect((await block(blockIds[0] ?? '')).state).to.equal('available');
      expect((await block(blockIds[1] ?? '')).error.code).to.equal('not_saved');
    });

    it('and rewind are refused for what is read-only or not loaded, and for bad bodies', async () => {
      const ro = await instance(near, { read_only: true });
      await problem('POST', `${ro.id}?action=save`, {}, 409, 'instance_read_only');
      await problem('POST', `${ro.id}?action=rewind`, {}, 409, 'instance_read_only');
      const { id } = await instance();
      await problem('POST', `${id}?action=save`, { name: '' }, 422, 'invalid_request');
      await problem('POST', `${id}?action=save`, { size: 1 }, 422, 'invalid_request');
      await problem('POST', `${id}?action=save`, { set_id: `set-${'0'.repeat(26)}` }, 404, 'set_not_found');
      await problem('POST', `${id}?action=rewind`, { to: 1 }, 422, 'invalid_request');
      await problem('POST', `${id}?action=freeze`, {}, 422, 'invalid_request');
      await problem('POST', `ins-${'0'.repeat(26)}?action=save`, {}, 404, 'cdm_instance_not_found');
      await center.database.query("UPDATE cdm_instances SET state = 'error', error_message = 'Its disk is gone.' WHERE id = ?", [
        id,
      ]);
      const found = await problem('POST', `${id}?action=save`, {}, 409, 'instance_not_loaded');
      expect(found.detail).to.include('Its disk is gone.');
      const { id: loading } = await load(center, { block_id: await center.block([near]) });
      await problem('POST', `${loading}?action=save`, {}, 409, 'instance_busy');
      expect(
        await count(center.database, "blocks WHERE name LIKE '% 1' AND state = 'creating' AND parent_block_id IS NULL"),
      ).to.equal(0);
    });
  });

  describe('rewind', () => {
    it('drops what was written', async () => {
      const { id } = await instance();
      await center.database.query('UPDATE cdm_instance_disks SET overlay_bytes = 9 WHERE instance_id = ?', [id]);
      const { jobId } = await act(center, id, 'rewind');
      const job = await jobOf(center, jobId);
      expect([job.kind, job.params]).to.deep.equal(['rewind', { instance_id: id }]);
      await succeed(center, jobId, result({}));
      expect((await show(center, id)).disks[0].overlay_bytes).to.equal(0);
      const failed = await act(center, id, 'rewind');
      await fail(center, failed.jobId, 'io_error');
      expect(await show(center, id)).to.deep.include({
        state: 'loaded',
        error: { code: 'rewind_failed', message: 'io_error: The key was refused.' },
      });
      expect((await center.send('POST', `jobs/${failed.jobId}?action=retry`)).status).to.equal(202);
    });
  });

  describe('hydrate', () => {
    const poolsOf = async (id: string) => (await show(center, id)).disks.map((disk: { pool_id: string }) => disk.pool_id);
    const stateIn = async (blockId: string, pool: string) =>
      (await block(blockId)).replicas.find((one: { pool_id: string }) => one.pool_id === pool)?.state ?? null;

    it('copies what is not there yet, and reads all from there once it is', async () => {
      const { bases, id } = await ofSet('hydrated');
      const [there] = bases as [string, string];
      await center.database.query(
        "INSERT INTO replicas (block_id, pool_id, state, stored_bytes, created_at) VALUES (?, ?, 'available', 5, UTC_TIMESTAMP(3))",
        [there, near2],
      );
      const before = await poolsOf(id);
      const { jobId } = await act(center, id, 'hydrate', { pool_id: near2, bandwidth: 5e6 });
      const job = await jobOf(center, jobId);
      expect(job.params).to.deep.include({ instance_id: id, pool_id: near2, bandwidth: 5e6 });
      expect(job.params.disks.map((disk: { index: number; pool_id: string }) => [disk.index, disk.pool_id])).to.deep.equal([
        [0, before[0]],
        [1, before[1]],
      ]);
      const made = bases.find((one) => one !== there) ?? '';
      expect([await stateIn(there, near2), await stateIn(made, near2)]).to.deep.equal(['available', 'creating']);
      expect(await claimsOf(jobId)).to.include.members([
        `exclusive instance:${id}`,
        `exclusive replica:${made}/${near2}`,
        `shared replica:${there}/${near2}`,
        `shared pool:${near2}`,
      ]);
      await succeed(center, jobId, {
        ...result({}),
        replicas: [{ block_id: made, pool_id: near2, state: 'available', stored_bytes: 60 }],
      });
      expect(await stateIn(made, near2)).to.equal('available');
      expect(await poolsOf(id)).to.deep.equal([near2, near2]);
      await problem('POST', `${id}?action=hydrate`, { pool_id: near2 }, 409, 'already_hydrated');
    });

    it('that failed leaves it as it was, and can be tried again', async () => {
      const { id, base } = await instance(cloud);
      const { jobId } = await act(center, id, 'hydrate', { pool_id: near });
      await fail(center, jobId, 'unreachable');
      expect(await stateIn(base, near)).to.equal(null);
      expect(await poolsOf(id)).to.deep.equal([cloud]);
      expect(await show(center, id)).to.deep.include({ state: 'loaded' });
      expect((await show(center, id)).error.code).to.equal('hydrate_failed');
      const next = (await center.send('POST', `jobs/${jobId}?action=retry`)).body['job-id'];
      expect(await stateIn(base, near)).to.equal('creating');
      await succeed(center, next, result({ [near]: 'available' }));
      expect(await stateIn(base, near), 'a result without block_id is of the job\u2019s own').to.equal('available');
      expect(await poolsOf(id)).to.deep.equal([near]);
      expect((await show(center, id)).error).to.equal(null);
    });

    it('of which the node says nothing changes nothing', async () => {
      const { id, base } = await instance(cloud);
      const { jobId } = await act(center, id, 'hydrate', { pool_id: near });
      await succeed(center, jobId, result({}));
      expect(await stateIn(base, near)).to.equal(null);
      expect(await poolsOf(id)).to.deep.equal([cloud]);
    });

    it('is refused for a pool that is not near, and says why', async () => {
      const { id, base } = await instance(cloud);
      for (const [pool, why] of [
        [cloud, 'is of type s3'],
        [far, 'lies on node n2'],
      ] as const) {
        const found = await problem('POST', `${id}?action=hydrate`, { pool_id: pool }, 422, 'invalid_request');
        expect(found.errors[0].path).to.equal('pool_id');
        expect(found.errors[0].message).to.include(why);
      }
      await problem('POST', `${id}?action=hydrate`, {}, 422, 'invalid_request');
      await center.database.query(
        "INSERT INTO replicas (block_id, pool_id, state, stored_bytes, created_at) VALUES (?, ?, 'damaged', 5, UTC_TIMESTAMP(3))",
        [base, near],
      );
      expect((await problem('POST', `${id}?action=hydrate`, { pool_id: near }, 409, 'replica_exists')).detail).to.include(
        'damaged',
      );
    });
  });
});
