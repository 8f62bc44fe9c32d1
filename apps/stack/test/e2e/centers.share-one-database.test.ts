/** Two centers on one MySQL and NATS: each answers whatever was begun at the other. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { createConnection } from 'mysql2/promise';
import { type Centers, startCenters } from './centers.ts';
import { fileDigest } from './disk.ts';
import { diskFile, localPool, restoredFile, startImport } from './steps.ts';

describe('two centers', function () {
  this.timeout(180_000);
  let centers: Centers;

  before(async () => {
    centers = await startCenters({ nodes: 2 });
  });
  after(async () => centers?.stop());

  it('answer a repeated request with what the other has answered, and do it once', async () => {
    const { system, apis } = centers;
    const pool = await localPool(system);
    const body = {
      name: 'asked twice',
      pool_id: pool.id,
      source: { type: 'file', node_id: 'node-1', path: await diskFile(system, 3) },
    };
    const key = { 'idempotency-key': 'the same at both' };
    const answers = await Promise.all(apis.map((api) => api.put('/blocks', body, key)));
    const done = answers.find(({ status }) => status === 202)!;
    for (const api of apis) {
      const again = await api.put('/blocks', body, key);
      expect([again.status, again.body]).to.deep.equal([202, done.body]);
    }
    await apis[1].succeeded(done.body['job-id']);
    const { blocks } = (await apis[0].ok('GET', '/blocks')).body;
    expect(blocks.filter((block: { name: string }) => block.name === 'asked twice')).to.have.length(1);
  });

  it('take a disk in pieces, each at another, and read it through the pool server of another node', async () => {
    const { system, apis } = centers;
    const path = await diskFile(system, 6, { tail: 517, seed: 'in pieces' });
    const bytes = await readFile(path);
    const pool = await localPool(system, 2);
    const { body } = await apis[0].ok('PUT', '/blocks', { name: 'in pieces', pool_id: pool.id, size: bytes.length });
    const block = body['block-id'] as string;
    const token = (await readFile(join(system.dir, 'center/token'), 'utf8')).trim();
    const PIECE = 1_500_000;
    let job: string | undefined;
    for (let first = 0, turn = 0; first < bytes.length; first += PIECE, turn++) {
      const piece = bytes.subarray(first, first + PIECE);
      const answer = await fetch(`${apis[turn % 2]!.url}/openstore_v1/blocks/${block}/content`, {
        method: 'PUT',
        headers: {
          Authorization: `Bearer ${token}`,
          'Content-Type': 'application/octet-stream',
          'Content-Range': `bytes ${first}-${first + piece.length - 1}/${bytes.length}`,
        },
        body: piece,
      });
      const told = (await answer.json()) as Record<string, string>;
      expect(answer.status, JSON.stringify(told)).to.equal(first + piece.length < bytes.length ? 200 : 202);
      job = told['job-id'];
    }
    await apis[1].succeeded(job!);
    // node-1 reads node-2's directory with a token that either center has signed.
    expect(await fileDigest(await restoredFile(system, block, pool.id))).to.equal(await fileDigest(path));
  });

  it('show each the events of what the other was asked', async () => {
    const { system, apis } = centers;
    const pool = await localPool(system);
    const { jobId } = await startImport(system, pool.id, await diskFile(system, 3));
    await apis[0].succeeded(jobId);
    const token = (await readFile(join(system.dir, 'center/token'), 'utf8')).trim();
    for (const api of apis) {
      const stop = new AbortController();
      const headers = { Authorization: `Bearer ${token}` };
      const answer = await fetch(`${api.url}/openstore_v1/jobs/${jobId}/events`, { headers, signal: stop.signal });
      let text = '';
      const decoder = new TextDecoder();
      for await (const part of answer.body!) {
        text += decoder.decode(part as Uint8Array, { stream: true });
        if (text.includes('event: job.succeeded')) break;
      }
      stop.abort();
      expect(text).to.match(/event: job.queued[\s\S]*event: job.running[\s\S]*event: job.succeeded/);
    }
  });

  it('tell a webhook each event once and in order, whichever of them has it, through the end of one', async () => {
    const { system, apis, processes } = centers;
    const seen: { id: number; type: string; job_id: string }[] = [];
    const receiver = createServer((request, response) => {
      let body = '';
      request.on('data', (part: Buffer) => {
        body += part.toString('utf8');
      });
      request.on('end', () => {
        seen.push(JSON.parse(body));
        response.end();
      });
    });
    receiver.listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
    await apis[0].ok('PUT', '/webhooks', { name: 'e2e', url, types: ['job'] });
    const pool = await localPool(system);
    const first = await startImport(system, pool.id, await diskFile(system, 3));
    await apis[1].succeeded(first.jobId);
    await processes[1].kill('SIGTERM');
    const second = await startImport(system, pool.id, await diskFile(system, 3));
    await apis[0].succeeded(second.jobId);
    const { webhooks } = (await apis[0].ok('GET', '/webhooks')).body;
    await apis[0].until(
      `/openstore_v1/webhooks/${webhooks[0].id}/deliveries?limit=1000`,
      ({ body }) =>
        body.deliveries.some(
          (one: { event: { type: string; job_id: string } }) =>
            one.event.type === 'job.succeeded' && one.event.job_id === second.jobId,
        ) && body.deliveries.every((one: { state: string }) => one.state === 'delivered'),
    );
    processes[1].start();
    receiver.close();
    receiver.closeAllConnections();
    const ids = seen.map(({ id }) => id);
    expect(ids).to.deep.equal([...new Set(ids)].sort((a, b) => a - b));
    for (const { jobId } of [first, second]) {
      const types = seen.filter((event) => event.job_id === jobId).map(({ type }) => type);
      expect(types[0]).to.equal('job.queued');
      expect(types.filter((type) => type === 'job.succeeded')).to.have.length(1);
    }
    await centers.ready();
  });

  it('that start at the same moment on an empty database migrate it once, and are both ready', async () => {
    const { system, processes } = centers;
    await Promise.all(processes.map((center) => center.kill()));
    const name = new URL(system.servers.mysql.url).pathname.slice(1);
    const connection = await createConnection(system.servers.mysql.url);
    await connection.query(`DROP DATABASE ${name}`);
    await connection.query(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
    for (const center of processes) center.start();
    await centers.ready();
    await connection.changeUser({ database: name });
    const [rows] = await connection.query('SELECT name, COUNT(*) AS n FROM migrations GROUP BY name');
    expect((rows as { n: number }[]).map(({ n }) => n)).to.satisfy(
      (counts: number[]) => counts.length > 3 && counts.every((n) => n === 1),
    );
    await connection.end();
  });
});
