/** Retention: events go after a time, and the oldest before that when there are too many. */
import { type DataSource, inTransaction } from '@openservice/store';
import { fromNow } from '../jobs/clock.ts';

const BATCH = 1_000;
const MOST_BATCHES = 2_000;

export interface Retention {
  /** Events younger than this stay, ms. */
  keepMs: number;
  /** At most so many stay, whatever their age. */
  most: number;
}

/** Removes what is due, in batches that hold no lock for long, and answers how many that were. */
export async function sweepEvents(database: DataSource, { keepMs, most }: Retention, signal?: AbortSignal): Promise<number> {
  // Where the oldest of those that may stay by their number stands. Positions jump at each start of a center, so they must be counted.
  const [kept] = await database.query<{ position: string | number }[]>(
    `SELECT position FROM events WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1 OFFSET ${Math.trunc(most)}`,
  );
  let removed = 0;
  for (let i = 0; i < MOST_BATCHES && signal?.aborted !== true; i++) {
    const gone = await sweepBatch(database, keepMs, Number(kept?.position ?? 0));
    removed += gone;
    if (gone < BATCH) break;
  }
  return removed;
}

async function sweepBatch(database: DataSource, keepMs: number, surplus: number): Promise<number> {
  return inTransaction(database, async (manager) => {
    const due = await manager.query<{ position: string | number }[]>(
      `SELECT position FROM (SELECT position, at FROM events WHERE position IS NOT NULL ORDER BY position LIMIT ${BATCH}) AS oldest
       WHERE at < ${fromNow(-keepMs)} OR position <= ? ORDER BY position`,
      [surplus],
    );
    if (due.length === 0) return 0;
    const floor = Number(due.at(-1)!.position);
    // The floor first, and with what goes: whoever reads finds the events, or learns that they are gone.
    await manager.query('UPDATE event_stream SET floor_position = GREATEST(floor_position, ?) WHERE id = 1', [floor]);
    const { affectedRows } = await manager.query<{ affectedRows: number }>('DELETE FROM events WHERE position <= ?', [floor]);
    return affectedRows;
  });
}
