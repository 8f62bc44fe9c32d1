/** Disks of an instance become new blocks: what save, and an unload that saves, do alike. */
import type { JobContext } from '@openservice/agent';
import type { FrozenDisk } from '@openservice/nbd';
import type { JobResult, SavedDisk } from '@openservice/protocol';
import type { Instance } from '../mounts/instance.ts';
import type { JobDeps } from './deps.ts';
import { dropFromPool, sessionOf } from './pool-target.ts';
import { SavedSource } from './saved-source.ts';
import { writeBlocks } from './write-blocks.ts';

/** All disks are held still together, and released when all is committed, or nothing is. */
export async function saveDisks(
  deps: JobDeps,
  context: JobContext<object>,
  instance: Instance,
  save: readonly SavedDisk[],
): Promise<JobResult> {
  const frozen: FrozenDisk[] = [];
  try {
    for (const { index } of save) frozen.push(await instance.freeze(index));
    const plans = save.map((disk, i) => {
      const { base } = instance.disk(disk.index);
      const { block } = instance.record.disks.find((one) => one.index === disk.index)!;
      return {
        block: { id: disk.block_id, size: block.size, chunkSize: block.chunk_size },
        poolId: disk.pool_id,
        meta: disk.meta,
        expectedRoot: null,
        openSource: async () => new SavedSource(frozen[i]!, await base.chunks(), deps.workers),
      };
    });
    return await writeBlocks(deps, { context, plans, fresh: true });
  } finally {
    for (const disk of frozen) await disk.release();
  }
}

/** Drops what was not committed of the new blocks. */
export async function dropSaved(
  deps: JobDeps,
  context: Pick<JobContext<object>, 'jobId' | 'attempt' | 'fence' | 'signal' | 'log'>,
  save: readonly SavedDisk[],
): Promise<void> {
  for (const { block_id, pool_id, meta } of save) {
    const session = sessionOf({ ...context, params: { meta } }, { id: block_id, size: 0, chunkSize: 1 });
    await dropFromPool(deps, pool_id, session, context);
  }
}
