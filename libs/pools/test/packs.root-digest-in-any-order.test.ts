import { randomBytes } from 'node:crypto';
import { createChunkWorkers } from '@openservice/codec';
import { expect } from 'chai';
import { HOLE_DIGEST, RootHasher } from '../src/manifest.ts';
import { createMemoryBackend } from '../src/memory/backend.ts';
import { createPacksPool } from '../src/packs/packs-pool.ts';

const signal = new AbortController().signal;
const CHUNK = 4096;
/** Two segments of 4096 chunks. */
const COUNT = 8192;

describe('the root digest of a block in packs', () => {
  it('is the same when a later segment begins before an earlier one, and both end together', async () => {
    const workers = createChunkWorkers({ threads: 1 });
    const pool = createPacksPool({ id: 'pool-1', backend: createMemoryBackend(), workers });
    await pool.probe({ create: true }, signal);
    const session = { blockId: 'block-1', size: COUNT * CHUNK, chunkSize: CHUNK, jobId: 'job-1', attempt: 1, fence: 1 };
    const writer = await pool.openWriter(session, signal);
    const digests = Array.from({ length: COUNT }, () => HOLE_DIGEST);
    for (const index of [4096, 0]) {
      const bytes = randomBytes(CHUNK);
      const digest = await workers.digest(bytes);
      digests[index] = digest;
      await writer.put(index, digest, bytes, signal);
    }
    writer.hole(0, COUNT);
    const { rootDigest } = await writer.prepare(signal);
    const expected = new RootHasher(session);
    expected.update(Buffer.concat(digests));
    expect(rootDigest.toString('hex')).to.equal(expected.digest().toString('hex'));
    await writer.commit(signal);
    await writer.close();
    const reader = await pool.openReader('block-1', signal);
    for (const index of [0, 4096]) {
      const digest = await reader.readChunk(index, Buffer.alloc(CHUNK), signal);
      expect(digest.equals(digests[index]!)).to.equal(true);
    }
    await reader.close();
    await pool.close();
    await workers.close();
  });
});
