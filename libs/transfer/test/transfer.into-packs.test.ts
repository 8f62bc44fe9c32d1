import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { newId, TransientError } from '@openservice/domain';
import { createMemoryBackend, createPacksPool, type Pool, type WriteSession } from '@openservice/pools';
import { fileSource, transfer, verifySource } from '@openservice/transfer';
import { expect } from 'chai';

const CHUNK = 1024 * 1024;
const SIZE = 90 * CHUNK;
const never = new AbortController().signal;

describe('transfer into packs', () => {
  let dir: string;
  let workers: ChunkWorkers;
  let pool: Pool;
  let session: WriteSession;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'packs-'));
    const handle = await open(join(dir, 'disk.img'), 'w');
    await handle.truncate(SIZE);
    for (let i = 0; i < 40; i++) await handle.write(Buffer.alloc(CHUNK, `chunk ${i} `), 0, CHUNK, (i * 2 + 3) * CHUNK);
    await handle.close();
    workers = createChunkWorkers({ threads: 1 });
    const id = newId('pool');
    pool = createPacksPool({ id, backend: createMemoryBackend(), workers });
    await pool.probe({ create: true }, never);
    session = { blockId: newId('block'), size: SIZE, chunkSize: CHUNK, jobId: newId('job'), attempt: 1, fence: 1 };
  });
  afterEach(async () => {
    await pool.close();
    await workers.close();
    await rm(dir, { recursive: true });
  });

  const source = async () =>
    fileSource({ handle: await open(join(dir, 'disk.img')), path: 'disk.img', size: SIZE, chunkSize: CHUNK, workers });

  it('comes out whole though it was stopped in the middle, and sends nothing durable again', async () => {
    const stop = new AbortController();
    const from = await source();
    const first = await pool.openWriter(session, never);
    const dead = transfer({
      source: from,
      writer: first,
      signal: stop.signal,
      window: 4,
      onProgress: ({ bytesDone }) => {
        if (bytesDone > SIZE / 2) stop.abort(new TransientError('node_stopping', 'The node stops.'));
      },
    });
    expect(await dead.catch((error: unknown) => error)).to.include({ code: 'node_stopping' });
    await first.checkpoint(never);
    await first.close();

    const writer = await pool.openWriter({ ...session, attempt: 2, fence: 2 }, never);
    const result = await transfer({ source: from, writer, signal: never });
    await writer.commit(never);
    await writer.close();
    await from.close();
    // 50 chunks are holes; of the 40 with data the first run had some 20 done.
    expect(result.counters.bytesSkipped).to.be.at.least(68 * CHUNK);

    const reader = await pool.openReader(session.blockId, never);
    const report = await verifySource({ source: reader, expectedRoot: result.rootDigest, signal: never });
    await reader.close();
    expect(report.intact).to.equal(true);
  });
});
