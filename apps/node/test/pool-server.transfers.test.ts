/** Whole transfers through the pool server: what travels, and what becomes of them when server, network or peer fail. */
import { createCipheriv, createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { blake3 } from '@napi-rs/blake-hash';
import { chunkCount, chunkLength, MIB, newId, type OpenServiceError, TransientError } from '@openservice/domain';
import type { BlockWriter, ChunkSource, Pool, WriteSession } from '@openservice/pools';
import { type Proxy as Relay, startProxy, tempDir, waitFor } from '@openservice/testkit';
import { transfer } from '@openservice/transfer';
import { expect } from 'chai';
import { startPoolServer, type TestServer } from './support/pool-server.ts';

const signal = new AbortController().signal;
const CHUNK = 256 * 1024;
const ZEROS = Buffer.alloc(CHUNK);

/** A disk in memory: chunk n is made of `seed n`, so that a change of the seed changes that chunk alone. Does not compress. */
function disk(chunks: number, seed: (index: number) => string): ChunkSource & { reads: number } {
  const size = chunks * CHUNK - 100;
  return {
    reads: 0,
    size,
    chunkSize: CHUNK,
    async *extents(from) {
      if (from < chunks) yield { first: from, count: chunks - from };
    },
    async readChunk(index, target) {
      this.reads++;
      const length = chunkLength(size, CHUNK, index);
      const key = createHash('sha256').update(seed(index)).digest();
      createCipheriv('aes-256-ctr', key, key.subarray(0, 16)).update(ZEROS.subarray(0, length)).copy(target);
      return blake3(target.subarray(0, length));
    },
    close: async () => undefined,
  };
}

describe('a transfer through the pool server', function () {
  this.timeout(60_000);
  let dir: ReturnType<typeof tempDir>;
  let server: TestServer;
  let proxy: Relay;
  const local = newId('pool');
  const dedup = newId('pool');
  const opened: Pool[] = [];

  before(async () => {
    dir = tempDir();
    server = await startPoolServer({
      dataDir: join(dir.path, 'node'),
      limits: { stallMs: 2000 },
      specs: [
        { id: local, type: 'local', node_id: 'node-1', path: join(dir.path, 'local') },
        { id: dedup, type: 'dedup', node_id: 'node-1', path: join(dir.path, 'dedup'), encryption_key: null },
      ],
    });
    for (const id of [local, dedup]) await (await server.behind(id)).probe({ create: true }, signal);
    proxy = await startProxy({ port: server.port });
  });
  after(async () => {
    for (const pool of opened) await pool.close();
    await proxy?.close();
    await server?.stop();
    dir?.remove();
  });

  const moved = (): number => proxy.bytes.toTarget + proxy.bytes.toClient;
  const remote = (id: string): Pool => {
    const pool = server.open(id, { port: proxy.port });
    opened.push(pool);
    return pool;
  };
  const session = (source: ChunkSource, blockId: string, attempt = 1): WriteSession => ({
    blockId,
    size: source.size,
    chunkSize: source.chunkSize,
    jobId: `job-of-${blockId}`,
    attempt,
    fence: attempt,
  });
  const copy = async (source: ChunkSource, pool: Pool, blockId: string, attempt = 1): Promise<Buffer> => {
    const writer = await pool.openWriter(session(source, blockId, attempt), signal);
    try {
      const { rootDigest } = await transfer({ source, writer, signal });
      await writer.commit(signal);
      return rootDigest;
    } finally {
      await writer.close();
    }
  };
  const same = async (reader: ChunkSource, source: ChunkSource): Promise<void> => {
    const [a, b] = [Buffer.alloc(CHUNK), Buffer.alloc(CHUNK)];
    for (let index = 0; index < chunkCount(source.size, CHUNK); index++) {
      await reader.readChunk(index, a, signal);
      await source.readChunk(index, b, signal);
      const length = chunkLength(source.size, CHUNK, index);
      expect(a.subarray(0, length).equals(b.subarray(0, length)), `chunk ${index}`).to.equal(true);
    }
    await reader.close();
  };
  const failure = async (call: Promise<unknown>): Promise<OpenServiceError> => {
    const error = await call.then(
      () => null,
      (thrown: unknown) => thrown as OpenServiceError,
    );
    if (error === null) throw new Error('it did not fail');
    return error;
  };

  it('sends of a second copy that differs by 1 % about 1 %, and asks for no chunk of it that the target has', async () => {
    const pool = remote(dedup);
    const first = disk(200, (index) => `disk ${index}`);
    await copy(first, pool, 'block-first');
    const changed = disk(200, (index) => (index === 50 || index === 120 ? `changed ${index}` : `disk ${index}`));
    const before = proxy.bytes.toTarget;
    await copy(changed, pool, 'block-second');
    const sent = proxy.bytes.toTarget - before;
    expect(sent)
      .to.be.greaterThan(2 * CHUNK)
      .and.lessThan(0.02 * changed.size);
    await same(await pool.openReader('block-second', signal), changed);
    // And the other way: what is here already is known by its digest, and not fetched.
    const reader = await pool.openReader('block-second', signal);
    const fetched = proxy.bytes.toClient;
    for (let index = 0; index < 200; index++) {
      const digest = await reader.knownDigest?.(index, signal);
      expect(digest?.length).to.equal(32);
    }
    expect(proxy.bytes.toClient - fetched).to.be.lessThan(32 * 1024);
    await reader.close();
  });

  it('fetches of a small read a small part', async () => {
    const pool = remote(dedup);
    const source = disk(20, (index) => `small ${index}`);
    await copy(source, pool, 'block-small');
    const reader = await pool.openReader('block-small', signal);
    await reader.read(0, 1, signal);
    const before = proxy.bytes.toClient;
    const chunk = Buffer.alloc(CHUNK);
    await source.readChunk(3, chunk, signal);
    expect((await reader.read(3 * CHUNK + 1000, 4096, signal)).equals(chunk.subarray(1000, 5096))).to.equal(true);
    expect(proxy.bytes.toClient - before).to.be.lessThan(16 * 1024);
    await reader.close();
  });

  for (const [name, id] of [
    ['local', local],
    ['dedup', dedup],
  ] as const) {
    it(`goes on after the server was restarted in the middle: the next run sends only what was not durable (${name})`, async () => {
      const pool = remote(id);
      const blockId = `block-restart-${name}`;
      const source = disk(60, (index) => `restart ${index}`);
      const writer = await pool.openWriter(session(source, blockId), signal);
      await put(writer, source, 0, 30);
      await writer.checkpoint(signal);
      await put(writer, source, 30, 40);
      await server.restart();
      const error = await failure(put(writer, source, 40, 41));
      expect([error.outcome, error.code]).to.deep.equal(['transient', 'session_lost']);
      await writer.close();
      source.reads = 0;
      await copy(source, pool, blockId, 2);
      expect(source.reads).to.be.greaterThan(19).and.lessThan(31);
      await same(await pool.openReader(blockId, signal), source);
    });
  }

  it('notices nothing of a restart where nothing was under way', async () => {
    const pool = remote(dedup);
    const source = disk(10, (index) => `quiet ${index}`);
    const writer = await pool.openWriter(session(source, 'block-quiet'), signal);
    await put(writer, source, 0, 5);
    await writer.checkpoint(signal);
    await server.restart();
    await put(writer, source, 5, 10);
    await writer.prepare(signal);
    await server.restart();
    await writer.commit(signal);
    await server.restart();
    await writer.commit(signal);
    await writer.close();
    const reader = await pool.openReader('block-quiet', signal);
    await reader.read(0, 100, signal);
    await server.restart();
    await same(reader, source);
  });

  it('drops what it wrote though the server was restarted meanwhile', async () => {
    const pool = remote(local);
    const source = disk(10, (index) => `aborted ${index}`);
    const writer = await pool.openWriter(session(source, 'block-aborted'), signal);
    await put(writer, source, 0, 5);
    await server.restart();
    await writer.abort(signal);
    await writer.close();
    const again = await pool.openWriter(session(source, 'block-aborted', 2), signal);
    expect(again.has(0)).to.equal(false);
    await again.abort(signal);
    await again.close();
  });

  it('lives through connections that break again and again', async () => {
    const pool = remote(dedup);
    const source = disk(120, (index) => `cut ${index}`);
    let cuts = 0;
    let at = moved();
    const breaking = setInterval(() => {
      if (moved() - at < 10 * MIB) return;
      at = moved();
      cuts++;
      proxy.cut();
    }, 5);
    try {
      await copy(source, pool, 'block-cut');
      await same(await pool.openReader('block-cut', signal), source);
    } finally {
      clearInterval(breaking);
    }
    expect(cuts).to.be.greaterThan(3);
  });

  it('goes at the pace of a slow network, and stops at once when it is told to', async () => {
    const pool = remote(local);
    const source = disk(40, (index) => `slow ${index}`);
    proxy.delay(20);
    try {
      await copy(source, pool, 'block-slow');
      await same(await pool.openReader('block-slow', signal), source);
    } finally {
      proxy.delay(0);
    }
    const reader = await pool.openReader('block-slow', signal);
    proxy.drop(true);
    try {
      const control = new AbortController();
      const read = failure(reader.readChunk(0, Buffer.alloc(CHUNK), control.signal));
      const begun = performance.now();
      control.abort();
      expect((await read).code).to.equal('cancelled');
      expect(performance.now() - begun).to.be.lessThan(1000);
    } finally {
      proxy.drop(false);
      proxy.cut();
    }
    await reader.close();
  });

  it('serves many clients at once', async () => {
    const source = disk(12, (index) => `many ${index}`);
    await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const pool = remote(i % 2 === 0 ? local : dedup);
        await copy(source, pool, `block-many-${i}`);
        await same(await pool.openReader(`block-many-${i}`, signal), source);
      }),
    );
  });

  it('closes a session that its client has left, so that its part of the pool is free', async () => {
    const place = tempDir();
    const quick = await startPoolServer({ dataDir: place.path, limits: { sessionIdleMs: 200 } });
    const pool = quick.open('node-1/default', { id: 'node-1/default', remote_pool: 'default' });
    const source = disk(4, (index) => `idle ${index}`);
    const writer = await pool.openWriter(session(source, 'block-idle'), signal);
    await put(writer, source, 0, 2);
    const lost = await waitFor('the server to close the session', async () => {
      const error = await writer.missing([Buffer.alloc(32, 1)]).then(
        () => null,
        (thrown: unknown) => thrown as OpenServiceError,
      );
      if (error !== null) return error;
      // Each look counts as a sign of life: the next must come after the deadline.
      await pause(400);
      return null;
    });
    expect(lost).to.be.instanceOf(TransientError);
    expect(lost.code).to.equal('session_lost');
    await writer.close();
    await pool.close();
    await quick.stop();
    place.remove();
  });

  it('keeps memory bounded whatever is read and written at once', async () => {
    const pool = remote(dedup);
    const source = disk(400, (index) => `memory ${index}`);
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss);
    }, 20);
    const before = process.memoryUsage().rss;
    try {
      await copy(source, pool, 'block-memory');
      const reader = await pool.openReader('block-memory', signal);
      await Promise.all(Array.from({ length: 64 }, (_, index) => reader.readChunk(index, Buffer.alloc(CHUNK), signal)));
      await reader.close();
    } finally {
      clearInterval(watch);
    }
    // Client, server and pool are one process here; the disk alone is 100 MiB.
    expect(most - before).to.be.lessThan(250 * MIB);
  });

  it('cuts off a client that asks for much and reads nothing', async () => {
    const source = disk(64, (index) => `stalled ${index}`);
    const rootDigest = await copy(source, remote(local), 'block-stalled');
    const body = JSON.stringify({
      root_digest: rootDigest.toString('hex'),
      indexes: Array.from({ length: 64 }, (_, index) => index),
    });
    const request = httpsRequest({
      host: '127.0.0.1',
      port: server.port,
      method: 'POST',
      path: `/v1/pools/${local}/blocks/block-stalled/chunks`,
      headers: { authorization: `Bearer ${server.token(local, 'block-stalled', 'read')}`, 'content-length': body.length },
      rejectUnauthorized: false,
      agent: false,
    });
    request.end(body);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    // Nothing is read for longer than the server's patience.
    const began = performance.now();
    await waitFor('the patience of the server to end', () => performance.now() - began > 5000);
    const end = await new Promise<string>((resolve) => {
      response.on('error', (error) => resolve(error.message)).on('end', () => resolve('whole'));
      response.resume();
    });
    expect(end).to.match(/aborted|reset/i);
  });

  async function put(writer: BlockWriter, source: ChunkSource, from: number, to: number): Promise<void> {
    const chunk = Buffer.alloc(CHUNK);
    for (let index = from; index < to; index++) {
      const digest = await source.readChunk(index, chunk, signal);
      await writer.put(index, digest, chunk.subarray(0, chunkLength(source.size, CHUNK, index)), signal);
    }
  }
});
