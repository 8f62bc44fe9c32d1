import { randomBytes } from 'node:crypto';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { createS3Backend, openPool } from '@openservice/pools';
import { describeBackend } from './conformance/backend.ts';
import { describePool, type PoolSuiteOptions } from './conformance/pool.ts';
import { corruptPacks, loseManifest } from './support/damage.ts';
import { hasS3, type TestS3, testS3 } from './support/s3-server.ts';

const signal = new AbortController().signal;
const ENCRYPTED: PoolSuiteOptions = { lacks: { stored: 'a sealed chunk opens only in its own pool' } };

if (hasS3('conformance on a real S3')) {
  describe('objects', function () {
    this.timeout(60_000);
    describeBackend('s3', async () => {
      const s3 = await testS3();
      return { backend: createS3Backend(s3.spec('backend')), destroy: () => s3.destroy() };
    });
  });

  describe('a bucket', () => {
    let s3: TestS3;
    let workers: ChunkWorkers;
    before(async () => {
      s3 = await testS3();
      workers = createChunkWorkers({ threads: 2 });
    });
    after(async () => {
      await workers?.close();
      await s3?.destroy();
    });
    let prefixes = 0;

    const describeS3 = (name: string, encryptionKey: string | null, options?: PoolSuiteOptions): void =>
      describePool(
        name,
        async () => {
          const spec = s3.spec(`pool-${++prefixes}`, { encryption_key: encryptionKey });
          return {
            open: () => openPool(spec, { workers }),
            corrupt: async () => {
              const backend = createS3Backend(spec);
              await corruptPacks(backend, signal);
              await backend.close();
            },
            lose: async (blockId) => {
              const backend = createS3Backend(spec);
              await loseManifest(backend, blockId, signal);
              await backend.close();
            },
            destroy: async () => {},
          };
        },
        options,
      );
    describeS3('s3', null);
    describeS3('s3, encrypted', randomBytes(32).toString('hex'), ENCRYPTED);
  });
}
