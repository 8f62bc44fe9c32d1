/** Pool type `dedup`: the packs layout in a directory of this machine. */
import type { DedupPoolSpec } from '@openservice/domain';
import type { PoolEnvironment } from '../environment.ts';
import { createFsBackend } from '../fs/backend.ts';
import { createPacksPool } from '../packs/packs-pool.ts';
import type { Pool } from '../pool.ts';
import { RESERVE_KEY, withReserve } from '../reserve/backend.ts';
import { inDirectory } from './directory.ts';

/** What must be written to free a full disk: a removal's ledger entry, and a collection's own objects. */
const FREES_ROOM = (key: string): boolean => /^(?:blocks\/[^/]+\/ledger|gc|condemned|deleting|acks)\//.test(key);

export function openDedupPool(spec: DedupPoolSpec, env: PoolEnvironment): Pool {
  const backend = withReserve(createFsBackend(spec.path), FREES_ROOM);
  const pool = createPacksPool({
    id: spec.id,
    backend,
    workers: env.workers,
    encryptionKey: spec.encryption_key,
    cacheDir: env.cacheDir,
    ignored: (key) => key === RESERVE_KEY,
  });
  return inDirectory(pool, spec.path, (signal) => backend.refill(signal));
}
