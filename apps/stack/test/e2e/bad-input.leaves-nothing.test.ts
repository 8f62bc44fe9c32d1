/** What a person or a server does wrong, through the REST API: a clear error, the block as it was, the same call possible again. */

import { execFile } from 'node:child_process';
import { mkdir, readdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startProxy } from '@openservice/testkit';
import { expect } from 'chai';
import { fileDigest, makeDisk } from './disk.ts';
import { diskFile, imported, localPool, restoredFile, s3Pool, s3PoolBody, startAction, startImport } from './steps.ts';
import { type System, startSystem } from './system.ts';

const run = promisify(execFile);

describe('bad input and faults', function () {
  this.timeout(120_000);
  let system: System;
  let local: { id: string; path: string };

  before(async () => {
    system = await startSystem({ nodes: 2 });
    local = await localPool(system);
  });
  after(async () => system?.stop());

  const importOf = (path: string) => ({ name: 'bad', pool_id: local.id, source: { type: 'file', path } });

  it('a source outside the import roots is refused, also by a symlink and by dots', async () => {
    const root = system.importRoot(1);
    await makeDisk(join(system.dir, 'outside.img'), { sizeMib: 1 });
    await symlink(join(system.dir, 'outside.img'), join(root, 'link.img'));
    for (const path of [join(system.dir, 'outside.img'), join(root, 'link.img'), `${root}/../../outside.img`, '/etc/passwd']) {
      const answer = await system.api.put('/blocks', importOf(path));
      expect(answer.status, path).to.equal(422);
      expect(answer.body.code, path).to.be.oneOf(['path_not_allowed', 'invalid_request']);
    }
  });

  it('a source that is not there, or is a directory, is refused by name', async () => {
    const root = system.importRoot(1);
    await mkdir(join(root, 'folder'), { recursive: true });
    expect((await system.api.put('/blocks', importOf(join(root, 'nothing.img')))).body.code).to.equal('source_not_found');
    expect((await system.api.put('/blocks', importOf(join(root, 'folder')))).body.code).to.equal('source_not_a_file');
  });

  it('a file that shrinks while it is read fails the import with a code, and the block can be deleted', async () => {
    const path = await diskFile(system, 600);
    const { blockId, jobId } = await startImport(system, local.id, path);
    await system.api.jobWhen(jobId, (job) => job.state === 'running' || job.bytes_done > 0);
    await truncate(path, 1024 * 1024);
    const job = await system.api.ended(jobId);
    expect(job.state).to.equal('failed');
    expect(job.error?.code).to.equal('source_changed');
    const { body } = await system.api.ok('GET', `/blocks/${blockId}`);
    expect(body.block.state).to.equal('error');
    const doomed = await system.api.ok('DELETE', `/blocks/${blockId}`);
    await system.api.succeeded(doomed.body['job-id']);
    expect((await system.api.get(`/blocks/${blockId}`)).status).to.equal(404);
  });

  it('a wrong key, a bucket that is not there and a server that is none are told apart, and nothing is kept', async () => {
    const wrongKey = await system.api.put('/pools', { ...s3PoolBody(system), secret_key: 'wrong-secret' });
    expect(wrongKey.status).to.equal(422);
    expect(wrongKey.body.code).to.equal('access_denied');
    const noBucket = await system.api.put('/pools', { ...s3PoolBody(system), bucket: 'no-such-bucket-here' });
    expect(noBucket.status).to.equal(422);
    expect(noBucket.body.code).to.equal('bucket_not_found');
    const name = 'not-a-server';
    const nobody = await system.api.put('/pools', { ...s3PoolBody(system, 'http://127.0.0.1:1'), name });
    expect(nobody.status).to.be.oneOf([422, 503]);
    expect((await system.api.get(`/pools?filter=${name}`)).body.pools).to.deep.equal([]);
    expect(JSON.stringify(wrongKey.body)).not.to.contain('wrong-secret');
  });

  it('a pool path that holds something else is refused', async () => {
    const path = system.poolPath(1, 'taken');
    await mkdir(path);
    await writeFile(join(path, 'holiday.jpg'), 'x');
    const answer = await system.api.put('/pools', { type: 'local', name: 'taken', node_id: 'node-1', path });
    expect(answer.status).to.equal(422);
    expect(answer.body.code).to.equal('pool_path_in_use');
    expect(await readdir(path)).to.deep.equal(['holiday.jpg']);
  });

  it('an S3 server that dies in the middle of an upload: the job waits and goes on when it is back', async () => {
    const proxy = await startProxy(system.servers.s3.endpoint);
    try {
      const path = await diskFile(system, 300);
      const blockId = await imported(system, local.id, path);
      const remote = await s3Pool(system, proxy.url);
      const jobId = await startAction(system, blockId, 'upload', { pool_id: remote });
      await system.api.jobWhen(jobId, (job) => job.bytes_sent > 0);
      await proxy.refuse();
      await system.api.jobWhen(jobId, (job) => job.attempt > 1 || job.error !== null || job.state === 'queued', 90_000);
      const during = (await system.api.ok('GET', `/blocks/${blockId}`)).body.block;
      expect(during.state).to.equal('available');
      await proxy.allow();
      await system.api.succeeded(jobId, 90_000);
      expect(await fileDigest(await restoredFile(system, blockId, remote))).to.equal(await fileDigest(path));
    } finally {
      await proxy.close();
    }
  });

  it('a disk that is full fails the import with a code and leaves nothing; the same image goes elsewhere', async function () {
    const mounted = join(system.dir, 'node-1', 'small');
    await mkdir(mounted);
    try {
      await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', mounted]);
    } catch (error) {
      console.log(`      skipped: a small tmpfs cannot be mounted here (${String(error).split('\n')[0]})`);
      return this.skip();
    }
    try {
      const made = await system.api.ok('PUT', '/pools', {
        type: 'local',
        name: 'small',
        node_id: 'node-1',
        path: join(mounted, 'pool'),
      });
      const path = await diskFile(system, 60);
      const { blockId, jobId } = await startImport(system, made.body['pool-id'], path);
      const job = await system.api.ended(jobId);
      expect([job.state, job.error?.code]).to.deep.equal(['failed', 'no_space']);
      expect((await system.api.ok('GET', `/blocks/${blockId}`)).body.block.state).to.equal('error');
      const left = (await readdir(join(mounted, 'pool'), { recursive: true })).filter((name) => /raw|digests|durable/.test(name));
      expect(left).to.deep.equal([]);
      await system.api.succeeded((await system.api.ok('DELETE', `/blocks/${blockId}`)).body['job-id']);
      await imported(system, local.id, path);
    } finally {
      await run('umount', ['--lazy', mounted]);
    }
  });

  it('a restore never overwrites a file', async () => {
    const path = await diskFile(system, 3);
    const blockId = await imported(system, local.id, path);
    const answer = await system.api.post(`/blocks/${blockId}?action=restore`, {
      target: { type: 'file', node_id: 'node-1', path },
    });
    expect(answer.status).to.equal(422);
    expect(answer.body.code).to.equal('target_exists');
  });

  it('a wrong token is refused before anything else', async () => {
    const answer = await system.api.call('GET', '/openstore_v1/pools', undefined, { authorization: 'Bearer wrong' });
    expect(answer.status).to.equal(401);
    expect(answer.body.code).to.equal('unauthorized');
  });

  it('an old attempt that asks for leave to commit is refused', async () => {
    const path = await diskFile(system, 3);
    const { jobId } = await startImport(system, local.id, path);
    await system.api.succeeded(jobId);
    const { connect } = await import('nats');
    const nats = await connect({ servers: system.servers.nats.url });
    const result = { root_digest: null, size: null, replicas: [], verified: false, progress: null, damage: [] };
    const request = { job_id: jobId, attempt: 1, fence: 1_000_000, result };
    const reply = await nats.request('openservice.v1.rpc.center.node-1.prepare', JSON.stringify(request), { timeout: 5_000 });
    const answer = reply.json() as { ok: boolean; result?: { granted: boolean } };
    expect(answer.ok && answer.result?.granted === true).to.equal(false);
    await nats.close();
  });
});
