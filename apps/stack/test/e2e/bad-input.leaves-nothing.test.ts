/** What a person or a server does wrong, through the REST API: a clear error, the block as it was, the same call possible again. */

import { execFile } from 'node:child_process';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { signPoolToken } from '@openservice/protocol';
import { startProxy } from '@openservice/testkit';
import { expect } from 'chai';
import { createConnection } from 'mysql2/promise';
import { fileDigest, makeDisk } from './disk.ts';
import {
  deleted,
  diskFile,
  done,
  imported,
  localPool,
  refusal,
  restoredFile,
  s3Pool,
  s3PoolBody,
  startAction,
  startImport,
} from './steps.ts';
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

  it('what a node says of a source or a target names the field, and a server that is none is told from a node that is away', async () => {
    const blockId = await imported(system, local.id, await diskFile(system, 3));
    const root = system.importRoot(1);
    const missing = await system.api.put('/blocks', importOf(join(root, 'nothing.img')));
    expect(refusal(missing)).to.deep.equal({ status: 422, code: 'source_not_found', fields: ['source.path'] });
    const outside = { target: { type: 'file', node_id: 'node-1', path: '/etc/passwd' } };
    const restore = await system.api.post(`/blocks/${blockId}?action=restore`, outside);
    expect(refusal(restore)).to.deep.equal({ status: 422, code: 'path_not_allowed', fields: ['target.path'] });
    const nowhere = { type: 'http', url: 'http://127.0.0.1:1/disk.img' };
    const web = await system.api.put('/blocks', { name: 'bad', pool_id: local.id, source: nowhere });
    expect([web.status, web.body.code]).to.deep.equal([503, 'unreachable']);
    expect(web.body.detail).to.contain('source.url').and.to.contain('node-1');
    const nbd = { target: { type: 'nbd', uri: 'nbd://127.0.0.1:1/' } };
    const disk = await system.api.post(`/blocks/${blockId}?action=restore`, nbd);
    expect([disk.status, disk.body.code]).to.deep.equal([503, 'unreachable']);
    expect(disk.body.detail).to.contain('target.uri');
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

  it('a dedup pool whose disk is full fails the import, and takes the next one when room was made by a delete and a collection', async function () {
    const mounted = join(system.dir, 'node-1', 'small-dedup');
    await mkdir(mounted);
    try {
      await run('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', mounted]);
    } catch (error) {
      console.log(`      skipped: a small tmpfs cannot be mounted here (${String(error).split('\n')[0]})`);
      return this.skip();
    }
    try {
      const body = { type: 'dedup', name: 'small dedup', node_id: 'node-1', path: join(mounted, 'pool') };
      const pool = (await system.api.ok('PUT', '/pools', body)).body['pool-id'];
      const kept = await diskFile(system, 6, { seed: 'kept' });
      const first = await imported(system, pool, kept);
      const large = await startImport(system, pool, await diskFile(system, 60, { seed: 'too large' }));
      const job = await system.api.ended(large.jobId);
      expect([job.state, job.error?.code]).to.deep.equal(['failed', 'no_space']);
      expect(job.error?.message).to.match(/full/);
      expect((await system.api.ok('GET', `/blocks/${large.blockId}`)).body.block.state).to.equal('error');
      expect(await fileDigest(await restoredFile(system, first, pool))).to.equal(await fileDigest(kept));
      await deleted(system, large.blockId);
      await done(system, 'pools', pool, 'gc');
      const next = await diskFile(system, 12, { seed: 'fits again' });
      const second = await imported(system, pool, next);
      expect(await fileDigest(await restoredFile(system, second, pool))).to.equal(await fileDigest(next));
      expect(await fileDigest(await restoredFile(system, first, pool))).to.equal(await fileDigest(kept));
    } finally {
      await run('umount', ['--lazy', mounted]);
    }
  });

  it('a token for looking looks, and changes nothing', async () => {
    const token = `ost_${randomBytes(32).toString('base64url')}`;
    const connection = await createConnection(system.servers.mysql.url);
    await connection.query('INSERT INTO tokens (id, name, role, token_hash, created_at) VALUES (?, ?, ?, ?, UTC_TIMESTAMP(3))', [
      'token-viewer',
      'viewer',
      'viewer',
      createHash('sha256').update(token).digest('hex'),
    ]);
    await connection.end();
    const blockId = await imported(system, local.id, await diskFile(system, 3));
    const as = (method: string, path: string, body?: unknown) =>
      system.api.call(method, `/openstore_v1${path}`, body, { authorization: `Bearer ${token}` });
    for (const path of ['/pools', '/blocks', `/blocks/${blockId}`, '/jobs', '/nodes', '/sets']) {
      expect((await as('GET', path)).status, path).to.equal(200);
    }
    const writes: [string, string, unknown?][] = [
      ['PUT', '/pools', { type: 'local', name: 'mine', node_id: 'node-1', path: system.poolPath(1, 'mine') }],
      ['PUT', '/blocks', importOf('/anywhere')],
      ['PUT', '/sets', { name: 'mine' }],
      ['PUT', `/blocks/${blockId}/content`],
      ['PUT', '/access_keys', { name: 'mine', pool: local.id }],
      ['POST', `/blocks/${blockId}?action=verify`, {}],
      ['POST', `/blocks/${blockId}?action=move`, { pool_id: local.id }],
      ['POST', `/pools/${local.id}?action=gc`, {}],
      ['POST', `/pools/${local.id}?action=export_key`, { passphrase: 'long enough' }],
      ['DELETE', `/blocks/${blockId}?purge=true`],
      ['DELETE', `/pools/${local.id}?force=true`],
      ['POST', '/nodes/node-1?action=drain', {}],
    ];
    for (const [method, path, body] of writes) {
      const answer = await as(method, path, body);
      expect([answer.status, answer.body.code], `${method} ${path}`).to.deep.equal([403, 'forbidden']);
    }
    expect((await as('GET', '/access_keys')).status, 'keys are for admins').to.equal(403);
    expect((await system.api.ok('GET', `/blocks/${blockId}`)).body.block.state).to.equal('available');
  });

  it('a pool server gives nothing for a token that its center did not sign, nor for one of another block', async () => {
    const path = await diskFile(system, 3);
    const blockId = await imported(system, local.id, path);
    const { node } = (await system.api.ok('GET', '/nodes/node-1')).body;
    const payload = { pool: local.id, block: blockId, right: 'read', exp: Date.now() + 60_000 } as const;
    const forged = signPoolToken(payload, generateKeyPairSync('ed25519').privateKey);
    const unsigned = `v1.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.`;
    const base = `${node.pool_endpoint}/v1/pools/${local.id}`;
    for (const [what, headers] of [
      ['none', {}],
      ['forged', { authorization: `Bearer ${forged}` }],
      ['unsigned', { authorization: `Bearer ${unsigned}` }],
      ["the API's own", { authorization: `Bearer ${await readFile(join(system.dir, 'center/token'), 'utf8')}`.trim() }],
    ] as const) {
      for (const [method, call] of [
        ['GET', `/blocks/${blockId}`],
        ['POST', `/blocks/${blockId}/open`],
        ['GET', '/blocks'],
        ['POST', `/blocks/${blockId}/remove`],
      ] as const) {
        const answer = await askPoolServer(method, base + call, headers);
        expect([answer.status, answer.body], `${what}: ${method} ${call}`).to.satisfy(
          ([status, text]: [number, string]) => status === 401 && JSON.parse(text).error.code === 'unauthorized',
        );
      }
    }
    expect(await fileDigest(await restoredFile(system, blockId, local.id))).to.equal(await fileDigest(path));
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

/** As any program on the network could, without a look at the certificate. */
async function askPoolServer(
  method: string,
  url: string,
  headers: Record<string, string>,
): Promise<{ status: number; body: string }> {
  const call = request(url, { method, headers: { ...headers, 'content-type': 'application/json' }, rejectUnauthorized: false });
  call.end(method === 'POST' ? '{"fence":9000000000000000}' : undefined);
  const [answer] = (await once(call, 'response')) as [IncomingMessage];
  const parts: Buffer[] = [];
  for await (const part of answer) parts.push(part as Buffer);
  return { status: answer.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') };
}
