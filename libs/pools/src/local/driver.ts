/** Pool type `local`: raw images in a directory of this machine. */
import type { LocalPoolSpec } from '@openservice/domain';
import type { PoolEnvironment } from '../environment.ts';
import { createFsBackend } from '../fs/backend.ts';
import type { Pool } from '../pool.ts';
import { createRawPool } from '../raw/pool.ts';

export function openLocalPool(spec: LocalPoolSpec, env: PoolEnvironment): Pool {
  return createRawPool({ id: spec.id, root: spec.path, backend: createFsBackend(spec.path), workers: env.workers });
}
