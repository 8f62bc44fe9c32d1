import { randomBytes } from 'node:crypto';
import { blake3 } from '@napi-rs/blake-hash';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { FencedError, MIB, TransientError } from '@openservice/domain';
import { expect } from 'chai';
import type { Backend } from '../src/backend.ts';
import { withFaults } from '../src/faulty/backend.ts';
import { createMemoryBackend } from '../src/memory/backend.ts';
import { createPacksPool } from '../src/packs/packs-pool.ts';
import type { BlockWriter } from '../src/pool.ts';
import { withRetry } from '../src/retry/backend.ts';

const signal = new AbortController().signal;
const CHUNK = MIB;

describe('a writer of packs', function () {
  this.timeout(60_000);
  let workers: ChunkWorkers;
  before(() => {
    workers = createChunkWorkers({ threads: 2 });
  });
  after(() => workers.close());

  const session = (attempt: number, chunks: number, blockId = 'block-1') => ({
    blockId,
    size: chunks * CHUNK,
    chunkSize: CHUNK,
    jobId: 'job-1',
    attempt,
    fence: attempt,
  });
  const noise = (chunks: number): Buffer[] => Array.from({ length: chunks }, () => randomBytes(CHUNK));
  const putAll = async (writer: BlockWriter, chunks: Buffer[], from = 0, to = chunks.length): Promise<void> => {
    for (let index = from; index < to; index++) {
      const bytes = chunks[index]!;
      if (!writer.has(index)) await writer.put(index, blake3(bytes), bytes, signal);
    }
  };
  const keysOf = async (backend: Backend, prefix: string): Promise<string[]> => {
    const keys: string[] = [];
    for await (const { key } of backend.list(prefix, signal)) keys.push(key);
    return keys;
  };

  /** All but ledgers, and what only a collection removes. */
  const besidesData = async (backend: Backend): Promise<string[]> =>
    (await keysOf(backend, '')).filter((key) => !/^(?:blocks\/block-1\/ledger|packs|segments|index)\//.test(key));

  it('sends again only what was in flight when it stopped without a checkpoint', async () => {
    const backend = createMemoryBackend();
    const pool = createPacksPool({ id: 'pool-a', backend, workers });
    await pool.probe({ create: true }, signal);
    const chunks = noise(160);
    const first = await pool.openWriter(session(1, chunks.length), signal);
    await putAll(first, chunks, 0, 120);
    const lost = 120 - Array.from({ length: 120 }, (_, i) => first.has(i)).filter(Boolean).length;
    expect(lost * CHUNK, 'in the open pack, waiting, and in flight').to.be.at.most(20 * MIB);
    await first.close();
    const second = await pool.openWriter(session(2, chunks.length), signal);
    await putAll(second, chunks);
    await second.prepare(signal);
    await second.commit(signal);
    const stored = (await pool.stat('block-1', signal))!.storedBytes;
    expect(first.bytesSent + second.bytesSent).to.be.lessThan(stored * 1.1);
    await second.close();
    expect(await keysOf(backend, 'sessions/')).to.deep.equal([]);
  });

  it('stores equal chunks of a block once', async () => {
    const backend = createMemoryBackend();
    const pool = createPacksPool({ id: 'pool-a', backend, workers });
    await pool.probe({ create: true }, signal);
    const one = randomBytes(CHUNK);
    const writer = await pool.openWriter(session(1, 12), signal);
    await putAll(writer, Array<Buffer>(12).fill(one), 0, 6);
    expect(await writer.missing([blake3(one), blake3(Buffer.from('new'))])).to.deep.equal([false, true]);
    await writer.checkpoint(signal);
    await putAll(writer, Array<Buffer>(12).fill(one), 6, 12);
    const { storedBytes } = await writer.prepare(signal);
    await writer.commit(signal);
    await writer.close();
    expect(storedBytes).to.be.lessThan(1.1 * MIB);
    const reader = await pool.openReader('block-1', signal);
    expect((await reader.read(11 * CHUNK + 5, 4096, signal)).equals(one.subarray(5, 4101))).to.equal(true);
    await reader.close();
  });

  it('leaves nothing but what collection takes after abort and after remove', async () => {
    const backend = createMemoryBackend();
    const pool = createPacksPool({ id: 'pool-a', backend, workers });
    await pool.probe({ create: true }, signal);
    const chunks = noise(6);
    const aborted = await pool.openWriter(session(1, 6), signal);
    await putAll(aborted, chunks);
    await aborted.prepare(signal);
    await aborted.abort(signal);
    await aborted.close();
    const kept = await pool.openWriter(session(2, 6), signal);
    await putAll(kept, chunks);
    await kept.commit(signal);
    await kept.close();
    await pool.remove('block-1', 3, signal);
    expect(await besidesData(backend)).to.deep.equal(['pool.json']);
    await pool.collect({ jobId: 'gc' }, signal);
    expect(await keysOf(backend, 'packs/')).to.deep.equal([]);
    expect(await keysOf(backend, 'segments/')).to.deep.equal([]);
    expect(await keysOf(backend, 'index/')).to.deep.equal([]);
  });

  it('removes the rest when a removal was cut off in the middle', async () => {
    const backend = createMemoryBackend();
    const store = createPacksPool({ id: 'pool-a', backend, workers });
    await store.probe({ create: true }, signal);
    const writer = await store.openWriter(session(1, 6), signal);
    await putAll(writer, noise(6));
    await writer.commit(signal);
    await writer.close();
    for (let after = 0; ; after++) {
      const gone = () => new TransientError('unreachable', 'cut off');
      const cut = createPacksPool({
        id: 'pool-a',
        backend: withFaults(backend, [{ call: 'remove', after, error: gone }]),
        workers,
      });
      const done = await cut.remove('block-1', 2, signal).then(
        () => true,
        () => false,
      );
      expect(await store.stat('block-1', signal)).to.equal(null);
      if (done) break;
    }
    expect(await besidesData(backend)).to.deep.equal(['pool.json']);
    await store.collect({ jobId: 'gc' }, signal);
    expect(await keysOf(backend, 'packs/')).to.deep.equal([]);
    expect(await keysOf(backend, 'segments/')).to.deep.equal([]);
    expect(await keysOf(backend, 'index/')).to.deep.equal([]);
  });

  it('gets through 503 answers, and through answers that were lost', async () => {
    const backend = createMemoryBackend();
    const busy = () => new TransientError('slow_down', 'busy');
    const wrap = (inner: Backend) =>
      withRetry(
        withFaults(inner, [
          { call: 'put', after: 1, times: 2, error: busy },
          { call: 'put', after: 5, times: 1, when: 'after', error: busy },
          { call: 'get', after: 2, times: 2, error: busy },
        ]),
        { tries: 5, baseMs: 1 },
      );
    const pool = createPacksPool({ id: 'pool-a', backend, workers, wrap });
    await pool.probe({ create: true }, signal);
    const chunks = noise(14);
    const writer = await pool.openWriter(session(1, 14), signal);
    await putAll(writer, chunks);
    await writer.prepare(signal);
    await writer.commit(signal);
    expect(writer.bytesSent).to.be.greaterThan(14 * MIB);
    await writer.close();
    const reader = await pool.openReader('block-1', signal);
    const target = Buffer.alloc(CHUNK);
    for (let i = 0; i < 14; i++) {
      await reader.readChunk(i, target, signal);
      expect(target.equals(chunks[i]!)).to.equal(true);
    }
    await reader.close();
  });

  it('lets one of two attempts that commit at once have the block, the newer', async () => {
    const backend = createMemoryBackend();
    const pool = createPacksPool({ id: 'pool-a', backend, workers });
    await pool.probe({ create: true }, signal);
    const chunks = noise(3);
    const old = await pool.openWriter(session(1, 3), signal);
    await putAll(old, chunks);
    await old.prepare(signal);
    const [next, late] = await Promise.allSettled([pool.openWriter(session(2, 3), signal), old.commit(signal)]);
    if (next.status !== 'fulfilled') throw next.reason;
    if (late.status === 'rejected') expect(late.reason).to.be.instanceOf(FencedError);
    await putAll(next.value, chunks);
    await next.value.commit(signal);
    await old.close();
    await next.value.close();
    const reader = await pool.openReader('block-1', signal);
    expect((await reader.read(CHUNK, CHUNK, signal)).equals(chunks[1]!)).to.equal(true);
    await reader.close();
  });
});
