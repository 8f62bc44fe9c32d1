import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { openPool, type Pool } from '@openservice/pools';
import { expect } from 'chai';

const CHUNK = 64 * 1024;
const SIZE = 3 * CHUNK + 777;
const never = new AbortController().signal;

describe('a reader of a local pool', () => {
  let dir: string;
  let workers: ChunkWorkers;
  let pool: Pool;
  const bytes = randomBytes(SIZE).fill(0, CHUNK, 2 * CHUNK);

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'openservice-raw-'));
    workers = createChunkWorkers({ threads: 1 });
    pool = openPool({ id: 'pool-1', type: 'local', node_id: 'node-1', path: join(dir, 'pool') }, { workers });
    await pool.probe({ create: true }, never);
    const session = { blockId: 'block-1', size: SIZE, chunkSize: CHUNK, jobId: 'job-1', attempt: 1, fence: 1 };
    const writer = await pool.openWriter(session, never);
    for (let index = 0; index * CHUNK < SIZE; index++) {
      const chunk = bytes.subarray(index * CHUNK, (index + 1) * CHUNK);
      await writer.put(index, await workers.digest(chunk), chunk, never);
    }
    await writer.commit(never);
    await writer.close();
  });
  after(async () => {
    await pool?.close();
    await workers?.close();
    await rm(dir, { recursive: true, force: true });
  });

  it('gives bytes at once where it has checked their chunks, holes too, and nowhere else', async () => {
    const reader = await pool.openReader('block-1', never);
    const ask = (offset: number, length: number): Buffer | null => {
      const target = Buffer.alloc(length, 1);
      return reader.readNow?.(offset, target) === true ? target : null;
    };
    expect(ask(10, 100), 'before it was checked').to.equal(null);
    expect((await reader.read(10, 100, never)).equals(bytes.subarray(10, 110))).to.equal(true);
    expect(ask(500, 1000)?.equals(bytes.subarray(500, 1500)), 'the same chunk').to.equal(true);
    expect(ask(CHUNK - 10, 20), 'over to a chunk that was not checked').to.equal(null);
    await reader.read(CHUNK - 10, 2 * CHUNK, never);
    expect(ask(CHUNK - 10, CHUNK + 20)?.equals(bytes.subarray(CHUNK - 10, 2 * CHUNK + 10)), 'over a hole').to.equal(true);
    await reader.close();
    expect(ask(500, 10), 'after it was closed').to.equal(null);
  });
});
