import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { type Backend, createFsBackend, createMemoryBackend, createPacksPool } from '@openservice/pools';
import { describePool } from './conformance/pool.ts';
import { corruptPacks, loseManifest } from './support/damage.ts';

const signal = new AbortController().signal;

/** Many pools on one backend that must outlive them. */
function kept(backend: Backend): Backend {
  return new Proxy(backend, {
    get: (target, name) => (name === 'close' ? async () => {} : bound(target, name as keyof Backend)),
  });
}

function bound(target: Backend, name: keyof Backend): unknown {
  const value: unknown = target[name];
  return typeof value === 'function' ? value.bind(target) : value;
}

describe('the packs layout', () => {
  let workers: ChunkWorkers;
  before(() => {
    workers = createChunkWorkers({ threads: 2 });
  });
  after(() => workers.close());

  describePool('packs over memory', async () => {
    const backend = createMemoryBackend();
    const id = `pool-${randomUUID()}`;
    return {
      open: () => createPacksPool({ id, backend: kept(backend), workers }),
      corrupt: () => corruptPacks(backend, signal),
      lose: (blockId) => loseManifest(backend, blockId, signal),
      destroy: async () => {},
    };
  });

  describePool('packs over fs', async () => {
    const root = await mkdtemp(join(tmpdir(), 'openservice-packs-'));
    const id = `pool-${randomUUID()}`;
    return {
      open: () => createPacksPool({ id, backend: createFsBackend(root), workers }),
      corrupt: () => corruptPacks(createFsBackend(root), signal),
      lose: (blockId) => loseManifest(createFsBackend(root), blockId, signal),
      destroy: () => rm(root, { recursive: true }),
    };
  });
});
