/** Pool type `s3`: the packs layout in an S3 bucket. */
import type { S3PoolSpec } from '@openservice/domain';
import type { PoolEnvironment } from '../environment.ts';
import { createPacksPool } from '../packs/packs-pool.ts';
import type { Pool } from '../pool.ts';
import { withRetry } from '../retry/backend.ts';
import { createS3Backend } from './s3-backend.ts';

/** About 15 s of waiting in all before a server that is away fails the work. */
const RETRY = { tries: 6, baseMs: 500 };

export function openS3Pool(spec: S3PoolSpec, env: PoolEnvironment): Pool {
  return createPacksPool({
    id: spec.id,
    backend: createS3Backend(spec),
    workers: env.workers,
    encryptionKey: spec.encryption_key,
    cacheDir: env.cacheDir,
    wrap: (backend) => withRetry(backend, RETRY),
  });
}
