/** Blocks whose time in the trash is over are removed for good; what a move left behind is removed; content that never came is given up. */
import { OpenServiceError } from '@openservice/domain';
import { newTraceparent } from '@openservice/runtime';
import { type DataSource, type EntityManager, inTransaction, isDatabaseAway } from '@openservice/store';
import { fromNow, NOW } from '../jobs/clock.ts';
import { removeReplica, submitDelete } from '../services/delete-block.ts';
import { findBlock } from '../services/lookups.ts';

const MOST_A_PASS = 50;
/** A block that another job holds, or whose node takes no work, is looked at again after this, ms. */
const AGAIN_MS = 300_000;

const itself = () => ({ tokenId: null, traceparent: newTraceparent() });

/** True when jobs were submitted. */
export async function purgeTrash(database: DataSource): Promise<boolean> {
  const due = await database.query<{ id: string }[]>(
    `SELECT id FROM blocks WHERE purge_at < ${NOW} AND state = 'trashed' ORDER BY purge_at LIMIT ${MOST_A_PASS}`,
  );
  let submitted = false;
  for (const { id } of due) {
    const purged = await tolerant(database, async (manager) => {
      if (!(await lockDue(manager, id))) return false;
      return (await submitDelete(manager, id, { trashMs: 0 }, itself())) !== null;
    });
    if (purged === null) await later(database, id);
    else submitted ||= purged;
  }
  return submitted;
}

/** A center that is at the same block has it; and it may have been brought back since it was listed. */
async function lockDue(manager: EntityManager, id: string): Promise<boolean> {
  const rows = await manager.query<unknown[]>(
    `SELECT id FROM blocks WHERE id = ? AND state = 'trashed' AND purge_at < ${NOW} FOR UPDATE SKIP LOCKED`,
    [id],
  );
  return rows.length === 1;
}

async function later(database: DataSource, id: string): Promise<void> {
  await database.query(`UPDATE blocks SET purge_at = ${fromNow(AGAIN_MS)} WHERE id = ? AND state = 'trashed'`, [id]);
}

/** A move that ended after it was recorded left its source `deleting`. True when jobs were submitted. */
export async function removeLeftovers(database: DataSource): Promise<boolean> {
  // From the few jobs to their replicas: the other way round every replica there is would be looked at.
  const left = await database.query<Leftover[]>(
    `SELECT STRAIGHT_JOIN r.block_id, r.pool_id FROM jobs j JOIN replicas r ON r.block_id = j.block_id AND r.job_id = j.id
     WHERE ${LEFT_SQL} ORDER BY r.block_id, r.pool_id LIMIT ${MOST_A_PASS}`,
  );
  let submitted = false;
  for (const one of left) submitted = (await tolerant(database, (manager) => removeLeftover(manager, one))) === true || submitted;
  return submitted;
}

interface Leftover {
  block_id: string;
  pool_id: string;
}

const LEFT_SQL = "r.state = 'deleting' AND j.kind = 'move' AND j.state IN ('failed', 'cancelled')";

async function removeLeftover(manager: EntityManager, { block_id, pool_id }: Leftover): Promise<boolean> {
  const block = await findBlock(manager, block_id, { lock: true });
  const still = await manager.query<unknown[]>(
    `SELECT r.pool_id FROM replicas r JOIN jobs j ON j.id = r.job_id WHERE r.block_id = ? AND r.pool_id = ? AND ${LEFT_SQL}`,
    [block_id, pool_id],
  );
  if (still.length === 0) return false;
  await removeReplica(manager, block, pool_id, itself());
  return true;
}

/** Of blocks that wait for content of which nothing came for too long. Their nodes are told by `dropContent`. */
export async function giveUpContent(database: DataSource): Promise<void> {
  const due = await database.query<{ id: string }[]>(
    `SELECT id FROM blocks WHERE ${ABANDONED_SQL} ORDER BY purge_at LIMIT ${MOST_A_PASS}`,
  );
  for (const { id } of due) {
    await inTransaction(database, async (manager) => {
      const rows = await manager.query<unknown[]>(`SELECT id FROM blocks WHERE id = ? AND ${ABANDONED_SQL} FOR UPDATE`, [id]);
      if (rows.length === 0) return;
      await manager.query("DELETE FROM replicas WHERE block_id = ? AND state = 'creating'", [id]);
      await manager.query("UPDATE blocks SET state = 'error', error_code = ?, error_message = ? WHERE id = ?", [
        'content_abandoned',
        'Nothing of its content came for too long (OPENSERVICE_CONTENT_HOURS), so it was given up; delete it and create it again.',
        id,
      ]);
    });
  }
}

const ABANDONED_SQL = `purge_at < ${NOW} AND state = 'creating' AND content_node_id IS NOT NULL`;

/** Null when the center itself refused: the block is busy, no node is there. One must not hold up the others. */
async function tolerant<T>(database: DataSource, work: (manager: EntityManager) => Promise<T>): Promise<T | null> {
  try {
    return await inTransaction(database, work);
  } catch (error) {
    if (isDatabaseAway(error) || !(error instanceof OpenServiceError)) throw error;
    return null;
  }
}
