/** The new blocks of a save, or of an unload that saves: each `available` with the job's success, `error` without. */
import type { JobResult, SavedDisk } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { blockMade, blockNotMade, makeBlockAgain } from './new-block.ts';

const byBlock = (save: readonly SavedDisk[]): SavedDisk[] => save.toSorted((a, b) => (a.block_id < b.block_id ? -1 : 1));

export async function savedMade(manager: EntityManager, job: Job, save: readonly SavedDisk[], result: JobResult): Promise<void> {
  const made = new Map((result.blocks ?? []).map((block) => [block.id, block]));
  for (const { index, block_id } of byBlock(save)) {
    const block = made.get(block_id);
    if (block === undefined) {
      const message = `The job ended without a word of disk ${index}; save again.`;
      await blockNotMade(manager, job, block_id, { code: 'not_saved', message });
      continue;
    }
    const replicas = result.replicas.filter((replica) => replica.block_id === block_id);
    await blockMade(manager, block_id, { ...result, size: block.size, root_digest: block.root_digest, replicas });
  }
}

export async function savedNotMade(
  manager: EntityManager,
  job: Job,
  save: readonly SavedDisk[],
  error: { code: string; message: string },
): Promise<void> {
  for (const { block_id } of byBlock(save)) await blockNotMade(manager, job, block_id, error);
}

/** Plans them once more, for job `next`. Answers what stands in the way, or null. */
export async function makeSavedAgain(manager: EntityManager, save: readonly SavedDisk[], next: string): Promise<string | null> {
  for (const { block_id, pool_id } of byBlock(save)) {
    const refused = await makeBlockAgain(manager, block_id, pool_id, next);
    if (refused !== null) return refused;
  }
  const [only] = save;
  if (only !== undefined && save.length === 1) {
    await manager.query('UPDATE jobs SET result_block_id = ? WHERE id = ?', [only.block_id, next]);
  }
  return null;
}
