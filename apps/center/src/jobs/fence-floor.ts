/**
 * Fences begin at the Unix time, in ms, of the center's last start. A database that was made anew, or brought back from a backup, would
 * else give out fences again that its pools have seen long ago, and every change of a block there would be refused as an old attempt's. Far fewer than
 * one attempt is made a millisecond, so a later start is always ahead.
 */
import { type DataSource, inTransaction, isDuplicate } from '@openservice/store';

/** The one row of `job_attempts` that is no attempt: it holds the key's counter up, also over a restart of the server. */
const FLOOR = { job_id: '-', attempt: 1, node_id: '-' } as const;

/** Every fence from here on is larger than `now` (Unix ms), and than all before it. */
export async function raiseFences(database: DataSource, now: number = Date.now()): Promise<void> {
  try {
    await inTransaction(database, async (manager) => {
      const [last] = await manager.query<{ fence: string | number | null }[]>('SELECT MAX(fence) AS fence FROM job_attempts');
      if (Number(last?.fence ?? 0) >= now) return;
      await manager.query('DELETE FROM job_attempts WHERE job_id = ?', [FLOOR.job_id]);
      await manager.query('INSERT INTO job_attempts (fence, job_id, attempt, node_id, created_at) VALUES (?, ?, ?, ?, ?)', [
        now,
        FLOOR.job_id,
        FLOOR.attempt,
        FLOOR.node_id,
        new Date(now),
      ]);
    });
  } catch (error) {
    // Another center starts in this very moment: then it is as high already.
    if (!isDuplicate(error)) throw error;
  }
}
