/** A disk that a client sends over a real center into a real node: cut off, a node killed, gone on with; and then the trash and back. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { dedupPool } from './pairs.ts';
import { diskFile, localPool, restoredFile, startAction } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('a disk that a client sends', function () {
  this.timeout(120_000);
  let system: System;
  let token: string;

  before(async () => {
    system = await startSystem({ nodes: 2 });
    token = (await readFile(join(system.dir, 'center/token'), 'utf8')).trim();
  });
  after(async () => system?.stop());

  function put(id: string, first: number, last: number, total: number): ClientRequest {
    const call = request(`${system.api.url}/openstore_v1/blocks/${id}/content`, {
      method: 'PUT',
      headers: {
        Authorization: `Bearer ${token}`,
        'Content-Type': 'application/octet-stream',
        'Content-Length': last - first + 1,
        'Content-Range': `bytes ${first}-${last}/${total}`,
      },
    });
    // One that is answered early may have its connection closed while it still sends; without an answer, answerOf says so.
    call.on('error', () => undefined);
    return call;
  }

  async function answerOf(call: ClientRequest): Promise<{ status: number; body: Record<string, unknown> }> {
    const [answer] = (await once(call, 'response')) as [IncomingMessage];
    const parts: Buffer[] = [];
    for await (const part of answer) parts.push(part as Buffer);
    return { status: answer.statusCode ?? 0, body: JSON.parse(Buffer.concat(parts).toString('utf8')) };
  }

  /** -1 while its node cannot be asked. */
  const offsetOf = async (id: string): Promise<number> => {
    const headers = { Authorization: `Bearer ${token}` };
    const answer = await fetch(`${system.api.url}/openstore_v1/blocks/${id}/content`, { method: 'HEAD', headers });
    return answer.status === 200 ? Number(answer.headers.get('Content-Offset')) : -1;
  };

  /** As a client does: asks, sends what is missing up to `end`, and once more where something of before was still under way. */
  async function goOn(id: string, bytes: Buffer, end: number): Promise<{ status: number; body: Record<string, unknown> }> {
    for (let tries = 1; ; tries++) {
      const from = await offsetOf(id);
      const call = put(id, from, end - 1, bytes.length);
      call.end(bytes.subarray(from, end));
      const told = await answerOf(call);
      if (told.status < 300 || tries === 50) return told;
    }
  }

  it('goes on where it broke off, through a killed node, is imported once, and equal', async () => {
    const path = await diskFile(system, 24, { tail: 4096 + 517, seed: 'sent' });
    const bytes = await readFile(path);
    const pool = await dedupPool(system, 2);
    const { body } = await system.api.ok('PUT', '/blocks', { name: 'sent', pool_id: pool, size: bytes.length });
    const id = body['block-id'] as string;
    const MIB = 1024 * 1024;

    const cut = put(id, 0, bytes.length - 1, bytes.length);
    const passed = Promise.withResolvers<void>();
    cut.write(bytes.subarray(0, 5 * MIB), () => passed.resolve());
    await passed.promise;
    cut.destroy();
    const told = await goOn(id, bytes, 10 * MIB);
    expect([told.status, told.body.offset], JSON.stringify(told.body)).to.deep.equal([200, 10 * MIB]);

    const node = system.nodes[1]!;
    await node.kill();
    expect(await offsetOf(id), 'while its node is away').to.equal(-1);
    node.start();
    await system.ready();
    expect(await offsetOf(id), 'what was answered for is there').to.equal(10 * MIB);

    const done = await goOn(id, bytes, bytes.length);
    expect(done.status, JSON.stringify(done.body)).to.equal(202);
    const repeated = put(id, 10 * MIB, bytes.length - 1, bytes.length);
    repeated.end(bytes.subarray(10 * MIB));
    expect((await answerOf(repeated)).body).to.deep.equal(done.body);
    await system.api.succeeded(done.body['job-id'] as string);
    expect(await fileDigest(await restoredFile(system, id, pool))).to.equal(await fileDigest(path));

    const gone = await system.api.ok('DELETE', `/blocks/${id}`);
    await system.api.succeeded(gone.body['job-id']);
    expect((await system.api.ok('GET', `/blocks/${id}`)).body.block.state).to.equal('trashed');
    await system.api.succeeded(await startAction(system, id, 'undelete', {}));
    expect(await fileDigest(await restoredFile(system, id, pool))).to.equal(await fileDigest(path));
  });

  it('a piece that does not begin where the content ends is refused with the offset, and costs nothing', async () => {
    const bytes = Buffer.alloc(3_000_001, 'piece by piece ');
    const pool = await dedupPool(system, 1);
    const { body } = await system.api.ok('PUT', '/blocks', { name: 'pieces', pool_id: pool, size: bytes.length });
    const id = body['block-id'] as string;
    const send = (first: number, end: number, total = bytes.length) => {
      const call = put(id, first, end - 1, total);
      call.end(bytes.subarray(first, end));
      return answerOf(call);
    };
    expect((await send(0, 1_000_000)).body.offset).to.equal(1_000_000);
    for (const first of [0, 999_999, 1_000_001, 2_000_000]) {
      const { status, body: problem } = await send(first, 2_500_000);
      expect([status, problem.code, problem.offset], `from ${first}`).to.deep.equal([409, 'content_offset_mismatch', 1_000_000]);
    }
    const longer = await send(1_000_000, 2_000_000, bytes.length + 1);
    expect(longer.status, JSON.stringify(longer.body)).to.equal(422);
    expect(await offsetOf(id)).to.equal(1_000_000);
    const { status, body: job } = await send(1_000_000, bytes.length);
    expect(status, JSON.stringify(job)).to.equal(202);
    await system.api.succeeded(job['job-id'] as string);
    const back = await readFile(await restoredFile(system, id, pool));
    expect(back.equals(bytes)).to.equal(true);
  });

  it('a disk of 300 MiB in one piece passes through the center without staying in its memory', async () => {
    const [size, piece] = [300 * 1024 * 1024, 1024 * 1024];
    const pool = await dedupPool(system, 2);
    const { body } = await system.api.ok('PUT', '/blocks', { name: 'large', pool_id: pool, size });
    const id = body['block-id'] as string;
    const residentOf = async (pid: number): Promise<number> =>
      Number(/VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
    const before = await residentOf(system.center.pid);
    let peak = before;
    const sent = createHash('sha256');
    const noise = randomBytes(piece);
    const call = put(id, 0, size - 1, size);
    const answered = answerOf(call);
    for (let at = 0; at < size; at += piece) {
      // One of three is data, no two the same; the rest is zeros.
      const part = at % (3 * piece) === 0 ? Buffer.from(noise) : Buffer.alloc(piece);
      if (at % (3 * piece) === 0) part.writeUInt32LE(at / piece, 0);
      sent.update(part);
      if (!call.write(part)) await once(call, 'drain');
      peak = Math.max(peak, await residentOf(system.center.pid));
    }
    call.end();
    const { status, body: job } = await answered;
    expect(status, JSON.stringify(job)).to.equal(202);
    expect(peak - before, `resident memory, from ${before} to ${peak}`).to.be.lessThan(100 * 1024 * 1024);
    await system.api.succeeded(job['job-id'] as string);
    expect(await fileDigest(await restoredFile(system, id, pool))).to.equal(sent.digest('hex'));
  });

  it('an increment reads what changed, and is equal to the whole', async () => {
    const path = await diskFile(system, 18, { seed: 'base' });
    const { id: pool } = await localPool(system, 1);
    const first = await system.api.ok('PUT', '/blocks', {
      name: 'full',
      pool_id: pool,
      source: { type: 'file', node_id: 'node-1', path },
    });
    await system.api.succeeded(first.body['job-id']);
    const file = await open(path, 'r+');
    await file.write(Buffer.alloc(8192, 7), 0, 8192, 5_000_000);
    await file.close();
    const second = await system.api.ok('PUT', '/blocks', {
      name: 'increment',
      pool_id: pool,
      source: { type: 'file', node_id: 'node-1', path },
      parent_block_id: first.body['block-id'],
      changed_extents: [{ offset: 5_000_000, length: 8192 }],
    });
    await system.api.succeeded(second.body['job-id']);
    expect(await fileDigest(await restoredFile(system, second.body['block-id'], pool))).to.equal(await fileDigest(path));
  });
});
