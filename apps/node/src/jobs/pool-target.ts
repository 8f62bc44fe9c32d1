/** A pool as the target of a job: the session that writes there, and how to drop what it left. */
import type { JobContext } from '@openservice/agent';
import { FencedError, PermanentError } from '@openservice/domain';
import type { WriteSession } from '@openservice/pools';
import type { BlockMeta } from '@openservice/protocol';
import type { JobDeps } from './deps.ts';

type Attempt = Pick<JobContext<{ meta?: BlockMeta | undefined }>, 'jobId' | 'attempt' | 'fence' | 'params'>;

export function sessionOf(attempt: Attempt, block: { id: string; size: number; chunkSize: number }): WriteSession {
  return {
    blockId: block.id,
    size: block.size,
    chunkSize: block.chunkSize,
    jobId: attempt.jobId,
    attempt: attempt.attempt,
    fence: attempt.fence,
    ...(attempt.params.meta === undefined ? {} : { meta: attempt.params.meta }),
  };
}

/** Drops what the job left uncommitted in the pool. Nothing is left to drop where another attempt or job owns the block. */
export async function dropFromPool(
  deps: JobDeps,
  poolId: string,
  session: WriteSession,
  context: Pick<JobContext<unknown>, 'signal' | 'log'>,
): Promise<void> {
  const pool = await deps.pools.get(poolId, context.signal);
  try {
    const writer = await pool.openWriter(session, context.signal);
    try {
      await writer.abort(context.signal);
    } finally {
      await writer.close();
    }
  } catch (error) {
    const owned = error instanceof FencedError || (error instanceof PermanentError && error.code === 'block_exists');
    if (!owned) throw error;
    context.log('nothing to clean up: the block belongs to another', {
      pool_id: poolId,
      block_id: session.blockId,
      why: error.code,
    });
  }
}
