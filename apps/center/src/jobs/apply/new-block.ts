/** A block that a job makes, by import or copy: `available` with the job's success, `error` without. */
import type { JobResult } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { lockBlock, poolIsAvailable, replicaAbandoned, replicaArrived, replicaPlanned } from './effects.ts';

export async function blockMade(manager: EntityManager, blockId: string | null, result: JobResult): Promise<void> {
  const block = await lockBlock(manager, blockId);
  if (block === null) return;
  const size = result.size ?? block.size;
  await manager.query(
    "UPDATE blocks SET state = 'available', size = ?, root_digest = ?, error_code = NULL, error_message = NULL WHERE id = ?",
    [size, result.root_digest, block.id],
  );
  for (const replica of result.replicas) {
    if (replica.state !== 'available') continue;
    await replicaArrived(manager, { ...block, size }, replica.pool_id, replica.stored_bytes, result.verified);
  }
}

export async function blockNotMade(
  manager: EntityManager,
  job: Job,
  blockId: string | null,
  error: { code: string; message: string },
): Promise<void> {
  await lockBlock(manager, blockId);
  await replicaAbandoned(manager, job, blockId);
  await manager.query(
    "UPDATE blocks SET state = 'error', error_code = ?, error_message = ? WHERE id = ? AND state = 'creating'",
    [error.code, error.message.slice(0, 2000), blockId],
  );
}

/** Plans it once more, for job `next`. Answers what stands in the way, or null. */
export async function makeBlockAgain(
  manager: EntityManager,
  blockId: string,
  poolId: string,
  next: string,
): Promise<string | null> {
  const block = await lockBlock(manager, blockId);
  if (block?.state !== 'error') return `block ${blockId} is ${block?.state ?? 'gone'}, not in error.`;
  if (!(await poolIsAvailable(manager, poolId))) return `pool ${poolId} is not available.`;
  if (!(await replicaPlanned(manager, block.id, poolId, next))) return `pool ${poolId} has the block already.`;
  await manager.query("UPDATE blocks SET state = 'creating', error_code = NULL, error_message = NULL WHERE id = ?", [block.id]);
  return null;
}
