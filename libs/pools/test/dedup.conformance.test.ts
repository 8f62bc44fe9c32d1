import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import type { DedupPoolSpec } from '@openservice/domain';
import { createFsBackend, openPool } from '@openservice/pools';
import { describePool, type PoolSuiteOptions } from './conformance/pool.ts';
import { corruptPacks, loseManifest } from './support/damage.ts';

const signal = new AbortController().signal;
const ENCRYPTED: PoolSuiteOptions = { lacks: { stored: 'a sealed chunk opens only in its own pool' } };

describe('dedup pools', () => {
  let workers: ChunkWorkers;
  before(() => {
    workers = createChunkWorkers({ threads: 2 });
  });
  after(() => workers.close());

  /** As a node opens it: with an index cache on its disk, one for each process. */
  const describeDedup = (name: string, encryptionKey: string | null, options?: PoolSuiteOptions): void =>
    describePool(
      name,
      async () => {
        const root = await mkdtemp(join(tmpdir(), 'openservice-dedup-'));
        const spec: DedupPoolSpec = {
          id: `pool-${randomUUID()}`,
          type: 'dedup',
          node_id: 'node-1',
          path: join(root, 'pool'),
          encryption_key: encryptionKey,
        };
        let process = 0;
        return {
          open: () => openPool(spec, { workers, cacheDir: join(root, 'caches', String(++process)) }),
          corrupt: () => corruptPacks(createFsBackend(spec.path), signal),
          lose: (blockId) => loseManifest(createFsBackend(spec.path), blockId, signal),
          destroy: () => rm(root, { recursive: true }),
        };
      },
      options,
    );

  describeDedup('dedup', null);
  describeDedup('dedup, encrypted', randomBytes(32).toString('hex'), ENCRYPTED);
});
