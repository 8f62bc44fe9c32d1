/** When each pool is compared next. Any center takes a pool that is due; one that dies at it leaves it due again soon. */
import type { DataSource, EntityManager } from '@openservice/store';
import { fromNow, NOW } from '../jobs/clock.ts';
import { CONFIRMED_SQL } from '../services/pool-reservation.ts';

/** Of a directory. */
const EVERY_MS = 3_600_000;
/** Of a pool behind a network, where each look at a block is paid for. */
const EVERY_FAR_MS = 6 * EVERY_MS;
/** Longer than a comparison takes. */
const TAKEN_MS = 900_000;
/** After one that could not be done: its node was away. */
const AGAIN_MS = 60_000;

/** A pool that is due and nobody else's now; null: none. */
export async function takeDue(database: DataSource): Promise<string | null> {
  await database.query(
    `INSERT IGNORE INTO pool_comparisons (pool_id, next_at)
     SELECT t.id, ${fromNow(AGAIN_MS)} FROM pools t LEFT JOIN pool_comparisons c ON c.pool_id = t.id WHERE c.pool_id IS NULL AND ${CONFIRMED_SQL}`,
  );
  await database.query('DELETE c FROM pool_comparisons c LEFT JOIN pools t ON t.id = c.pool_id WHERE t.id IS NULL');
  const [due] = await database.query<{ pool_id: string }[]>(
    `SELECT pool_id FROM pool_comparisons WHERE next_at <= ${NOW} ORDER BY next_at LIMIT 1`,
  );
  if (due === undefined) return null;
  const { affectedRows } = await database.query<{ affectedRows: number }>(
    `UPDATE pool_comparisons SET next_at = ${fromNow(TAKEN_MS)} WHERE pool_id = ? AND next_at <= ${NOW}`,
    [due.pool_id],
  );
  return affectedRows === 1 ? due.pool_id : null;
}

export async function compared(database: DataSource, poolId: string, done: boolean): Promise<void> {
  const next = done ? `IF(t.type IN ('local', 'dedup'), ${fromNow(EVERY_MS)}, ${fromNow(EVERY_FAR_MS)})` : fromNow(AGAIN_MS);
  // Asked for meanwhile: then it is due at once.
  await database.query(
    `UPDATE pool_comparisons c JOIN pools t ON t.id = c.pool_id SET c.next_at = IF(c.next_at <= ${NOW}, c.next_at, ${next}) WHERE c.pool_id = ?`,
    [poolId],
  );
}

/** As soon as a center has time for it; `poolId` left out: all. How many pools that are. */
export async function compareAllSoon(database: DataSource | EntityManager, poolId?: string): Promise<number> {
  const { affectedRows } = await database.query<{ affectedRows: number }>(
    `INSERT INTO pool_comparisons (pool_id, next_at) SELECT t.id, ${NOW} FROM pools t WHERE ${CONFIRMED_SQL}${poolId === undefined ? '' : ' AND t.id = ?'}
     ON DUPLICATE KEY UPDATE next_at = LEAST(next_at, VALUES(next_at))`,
    poolId === undefined ? [] : [poolId],
  );
  return affectedRows;
}
