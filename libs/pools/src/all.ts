/** Every pool driver: a new one is its folder and a line here. */
import { PermanentError, type PoolSpec, type PoolType } from '@openservice/domain';
import { openDedupPool } from './dedup/driver.ts';
import type { PoolEnvironment } from './environment.ts';
import { openLocalPool } from './local/driver.ts';
import type { Pool } from './pool.ts';
import { openRemotePool } from './remote/driver.ts';
import { openS3Pool } from './s3/driver.ts';

type Drivers = { readonly [T in PoolSpec['type']]?: (spec: Extract<PoolSpec, { type: T }>, env: PoolEnvironment) => Pool };

const DRIVERS: Drivers = {
  local: openLocalPool,
  dedup: openDedupPool,
  s3: openS3Pool,
  remote: openRemotePool,
};

/** The pool that `spec` names; nothing is touched before its first call. PermanentError `pool_type_unsupported`. */
export function openPool(spec: PoolSpec, env: PoolEnvironment): Pool {
  const open = DRIVERS[spec.type] as ((spec: PoolSpec, env: PoolEnvironment) => Pool) | undefined;
  if (open === undefined) throw unsupported(spec.type);
  return open(spec, env);
}

function unsupported(type: PoolType): PermanentError {
  return new PermanentError('pool_type_unsupported', `Pools of type ${type} are not supported by this version.`);
}
