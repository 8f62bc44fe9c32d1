import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createChunkWorkers } from '@openservice/codec';
import { createFsBackend, openPool } from '@openservice/pools';
import { describePool, type PoolSuiteOptions } from './conformance/pool.ts';
import { corruptPacks } from './support/damage.ts';

const signal = new AbortController().signal;
const ENCRYPTED: PoolSuiteOptions = { lacks: { stored: 'a sealed chunk opens only in its own pool' } };

/** As a node opens it: with the index cache on its disk, one for each process. */
function describeDedup(name: string, encryptionKey: string | null, options?: PoolSuiteOptions): void {
  describePool(
    name,
    async () => {
      const root = await mkdtemp(join(tmpdir(), 'openservice-dedup-'));
      const path = join(root, 'pool');
      const id = `pool-${randomUUID()}`;
      const workers = createChunkWorkers({ threads: 2 });
      let process = 0;
      const caches = join(root, 'caches');
      await mkdir(caches);
      return {
        open: () =>
          openPool(
            { id, type: 'dedup', node_id: 'node-1', path, encryption_key: encryptionKey },
            { workers, cacheDir: join(caches, String(++process)) },
          ),
        corrupt: () => corruptPacks(createFsBackend(path), signal),
        destroy: async () => {
          await workers.close();
          await rm(root, { recursive: true });
        },
      };
    },
    options,
  );
}

describeDedup('dedup', null);
describeDedup('dedup, encrypted', randomBytes(32).toString('hex'), ENCRYPTED);
