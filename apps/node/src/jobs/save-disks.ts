/** Disks of an instance become new blocks: what save, and an unload that saves, do alike. */
import type { JobContext } from '@openservice/agent';
import type { FrozenDisk } from '@openservice/nbd';
import type { JobResult, SavedDisk } from '@openservice/protocol';
import type { Instance } from '../mounts/instance.ts';
import { openReplica } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';
import { dropFromPool, sessionOf } from './pool-target.ts';
import { SavedSource } from './saved-source.ts';
import { begunBlocks, type Moment, writeBlocks } from './write-blocks.ts';

/** All disks are held still together, and released when all is committed, or nothing is. */
export async function saveDisks(
  deps: JobDeps,
  context: JobContext<object>,
  instance: Instance,
  save: readonly SavedDisk[],
  moment: Moment,
): Promise<JobResult> {
  const frozen = await instance.freeze(save.map(({ index }) => index));
  try {
    const plans = save.map((disk, i) => {
      const { block, pool_id } = instance.record.disks.find((one) => one.index === disk.index)!;
      return {
        block: { id: disk.block_id, size: block.size, chunkSize: block.chunk_size },
        poolId: disk.pool_id,
        fromPoolId: pool_id,
        meta: disk.meta,
        expectedRoot: null,
        openSource: async (signal: AbortSignal) =>
          new SavedSource(frozen[i]!, await openReplica(deps, pool_id, block, signal), deps.workers),
      };
    });
    return await writeBlocks(deps, { context, plans, moment });
  } finally {
    await release(frozen, context);
  }
}

/** Layers that cannot be put together now (the disk is full) stay as they are and are read as they are: what was saved counts all the same. */
async function release(frozen: readonly FrozenDisk[], context: JobContext<object>): Promise<void> {
  for (const outcome of await Promise.allSettled(frozen.map((disk) => disk.release()))) {
    if (outcome.status === 'rejected')
      context.log('layers of an instance could not be put together; it is tried again later', { why: String(outcome.reason) });
  }
}

/** Drops what was begun and not committed of the new blocks. */
export async function dropSaved(
  deps: JobDeps,
  context: Pick<JobContext<object>, 'jobId' | 'attempt' | 'fence' | 'signal' | 'log' | 'lastCheckpoint'>,
  save: readonly SavedDisk[],
): Promise<void> {
  const begun = begunBlocks(context.lastCheckpoint);
  for (const { block_id, pool_id, meta } of save) {
    const shape = begun[block_id];
    if (shape === undefined) continue;
    const session = sessionOf({ ...context, params: { meta } }, { id: block_id, size: shape.size, chunkSize: shape.chunk_size });
    await dropFromPool(deps, pool_id, session, context);
  }
}
