/** A block is copied from the pool that has it to another. */
import type { JobHandler } from '@openservice/agent';
import { copyToPool, dropCopy } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';

export function uploadHandler(deps: JobDeps): JobHandler<'upload'> {
  return {
    kind: 'upload',
    concurrency: 2,
    run: (context) => copyToPool(deps, context, context.params.pool_id),
    cleanUp: (context) => dropCopy(deps, context, context.params.pool_id),
  };
}
