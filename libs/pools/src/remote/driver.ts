/** Pool type `remote`: a pool behind the pool server of another node. */
import { PermanentError, type RemotePoolSpec } from '@openservice/domain';
import type { PoolEnvironment } from '../environment.ts';
import type { Pool } from '../pool.ts';
import { RemoteClient } from './client.ts';
import { RemotePool } from './pool.ts';

export function openRemotePool(spec: RemotePoolSpec, env: PoolEnvironment): Pool {
  if (!spec.https) {
    throw new PermanentError(
      'https_required',
      `Pool ${spec.id} cannot be used without HTTPS: its tokens would travel in the clear.`,
    );
  }
  return new RemotePool(spec, new RemoteClient(spec, env), env.workers);
}
