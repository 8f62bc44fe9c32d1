/** What every kind of job does to rows of blocks, replicas, pools and sets; all in the transaction that ends the job. */
import type { JobResult } from '@openservice/protocol';
import type { EntityManager, Job } from '@openservice/store';
import { NOW } from '../clock.ts';

export interface KindEffects {
  /** The job succeeded with `result`. */
  succeeded(manager: EntityManager, job: Job, result: JobResult): Promise<void>;
  /** It failed for good or was cancelled: everything goes back to its last good state. */
  ended(manager: EntityManager, job: Job, error: { code: string; message: string }): Promise<void>;
  /** Writes the rows that a service writes at submit, for job `next` that does `job`'s work again. Answers why it cannot, or null. */
  again(manager: EntityManager, job: Job, next: string): Promise<string | null>;
}

interface ReplicaRow {
  pool_id: string;
  state: string;
  stored_bytes: number;
}

export interface BlockRow {
  id: string;
  state: 'creating' | 'available' | 'deleting' | 'trashed' | 'error';
  size: number;
  set_id: string | null;
  root_digest: string | null;
  /** Set while the block is in the trash, and while it is removed out of it. */
  purge_at: Date | null;
  content_node_id: string | null;
  error_code: string | null;
}

/** The block's row, locked, so that what is counted of it is counted once. */
export async function lockBlock(manager: EntityManager, blockId: string | null): Promise<BlockRow | null> {
  const [row] = await manager.query<(BlockRow & { size: string | number })[]>(
    'SELECT id, state, size, set_id, root_digest, purge_at, content_node_id, error_code FROM blocks WHERE id = ? FOR UPDATE',
    [blockId],
  );
  return row === undefined ? null : { ...row, size: Number(row.size) };
}

/** The block's replicas, sorted by pool: pools are always locked in that order. */
export async function replicasOf(manager: EntityManager, blockId: string): Promise<ReplicaRow[]> {
  const rows = await manager.query<(ReplicaRow & { stored_bytes: string | number })[]>(
    'SELECT pool_id, state, stored_bytes FROM replicas WHERE block_id = ? ORDER BY pool_id FOR UPDATE',
    [blockId],
  );
  return rows.map((row) => ({ ...row, stored_bytes: Number(row.stored_bytes) }));
}

/** The replica that job made (`creating`) is there now; its pool counts it. Repeated: nothing. */
export async function replicaArrived(
  manager: EntityManager,
  block: BlockRow,
  poolId: string,
  storedBytes: number,
  verified: boolean,
): Promise<void> {
  const { affectedRows } = await manager.query<{ affectedRows: number }>(
    `UPDATE replicas SET state = 'available', stored_bytes = ?, verified_at = ${verified ? NOW : 'verified_at'}, job_id = NULL
     WHERE block_id = ? AND pool_id = ? AND state = 'creating'`,
    [storedBytes, block.id, poolId],
  );
  if (affectedRows === 0) return;
  await manager.query(
    'UPDATE pools SET stored_bytes = stored_bytes + ?, logical_bytes = logical_bytes + ?, block_count = block_count + 1 WHERE id = ?',
    [storedBytes, block.size, poolId],
  );
}

/** The replica of `blockId` that `job` was making never came to be. */
export async function replicaAbandoned(manager: EntityManager, job: Job, blockId: string | null = job.block_id): Promise<void> {
  await manager.query("DELETE FROM replicas WHERE block_id = ? AND state = 'creating' AND (job_id = ? OR job_id IS NULL)", [
    blockId,
    job.id,
  ]);
}

/** The replica's data is gone from its pool; its row and its share of the counters go too. */
export async function replicaGone(manager: EntityManager, block: BlockRow, replica: ReplicaRow): Promise<void> {
  await manager.query('DELETE FROM replicas WHERE block_id = ? AND pool_id = ?', [block.id, replica.pool_id]);
  // One that never came to be was never counted; `stored_bytes` is set only when it is.
  if (replica.state === 'creating') return;
  await manager.query(
    `UPDATE pools SET stored_bytes = GREATEST(0, stored_bytes - ?), logical_bytes = GREATEST(0, logical_bytes - ?),
     block_count = GREATEST(0, block_count - 1) WHERE id = ?`,
    [replica.stored_bytes, block.size, replica.pool_id],
  );
}

/** A new `creating` replica for job `next`. Answers false when the pool has one of that block already. */
export async function replicaPlanned(manager: EntityManager, blockId: string, poolId: string, next: string): Promise<boolean> {
  const { affectedRows } = await manager.query<{ affectedRows: number }>(
    `INSERT IGNORE INTO replicas (block_id, pool_id, state, stored_bytes, job_id, created_at) VALUES (?, ?, 'creating', 0, ?, ${NOW})`,
    [blockId, poolId, next],
  );
  return affectedRows === 1;
}

export async function poolIsAvailable(manager: EntityManager, poolId: string): Promise<boolean> {
  const rows = await manager.query<unknown[]>("SELECT id FROM pools WHERE id = ? AND state = 'available'", [poolId]);
  return rows.length === 1;
}
