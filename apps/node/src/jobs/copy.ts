/** A new block with the content of another. Inside one pool it is a clone: no data moves where the pool can share it. */
import type { JobHandler } from '@openservice/agent';
import { copyToPool, dropCopy } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';

export function copyHandler(deps: JobDeps): JobHandler<'copy'> {
  return {
    kind: 'copy',
    concurrency: 2,
    run: (context) => copyToPool(deps, context, context.params.pool_id, context.params.new_block_id),
    cleanUp: (context) => dropCopy(deps, context, context.params.pool_id, context.params.new_block_id),
  };
}
