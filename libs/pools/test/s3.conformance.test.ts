import { createChunkWorkers } from '@openservice/codec';
import { createS3Backend, openPool } from '@openservice/pools';
import { describeBackend } from './conformance/backend.ts';
import { describePool } from './conformance/pool.ts';
import { corruptPacks } from './support/damage.ts';
import { hasS3, testS3 } from './support/s3-server.ts';

const signal = new AbortController().signal;

if (hasS3('conformance on a real S3')) {
  describe('objects', function () {
    this.timeout(60_000);
    describeBackend('s3', async () => {
      const s3 = await testS3();
      return { backend: createS3Backend(s3.spec('backend')), destroy: () => s3.destroy() };
    });
  });

  describePool('packs over s3', async () => {
    const s3 = await testS3();
    const workers = createChunkWorkers({ threads: 2 });
    const spec = s3.spec('conformance');
    return {
      open: () => openPool(spec, { workers }),
      corrupt: async () => {
        const backend = createS3Backend(spec);
        await corruptPacks(backend, signal);
        await backend.close();
      },
      destroy: async () => {
        await workers.close();
        await s3.destroy();
      },
    };
  });
}
