/**
 * Gives events their places in the stream. Keys of an AUTO_INCREMENT column become visible in the order of commits, not of their numbers, so
 * nobody may read on from one. A position is given after the commit, by one center at a time: it holds the row of `event_stream` until its
 * own transaction ends. Hence whoever sees a position sees all before it, and none comes later.
 *
 * The events of one job are written under its row's lock: the earlier has committed before the later is written, so they stay in order.
 */
import { type DataSource, inTransaction } from '@openservice/store';

const BATCH = 500;

export interface StreamState {
  /** The newest event's. */
  last: number;
  /** Events up to this one were removed by retention; 0: none. */
  floor: number;
  /** Some have committed and have no position yet. */
  waiting: boolean;
}

/** One statement on two keys: cheap enough to ask again and again. */
export async function streamState(database: DataSource): Promise<StreamState> {
  const [row] = await database.query<{ last: string | number; floor: string | number; waiting: string | number }[]>(
    `SELECT s.last_position AS last, s.floor_position AS floor, EXISTS (SELECT 1 FROM events e WHERE e.position IS NULL) AS waiting
     FROM event_stream s WHERE s.id = 1`,
  );
  return { last: Number(row?.last ?? 0), floor: Number(row?.floor ?? 0), waiting: Number(row?.waiting ?? 0) === 1 };
}

/** How many events were given a position: 0 also when another center is at it. */
export async function sequence(database: DataSource, batch: number = BATCH): Promise<number> {
  return inTransaction(database, async (manager) => {
    const [stream] = await manager.query<{ last: string | number }[]>(
      'SELECT last_position AS last FROM event_stream WHERE id = 1 FOR UPDATE SKIP LOCKED',
    );
    if (stream === undefined) return 0;
    const rows = await manager.query<{ id: string | number }[]>(
      `SELECT id FROM events WHERE position IS NULL ORDER BY id LIMIT ${batch}`,
    );
    if (rows.length === 0) return 0;
    const ids = rows.map((row) => Number(row.id));
    const last = Number(stream.last);
    const marks = ids.map(() => '?').join(', ');
    await manager.query(`UPDATE events SET position = ? + FIELD(id, ${marks}) WHERE id IN (${marks})`, [last, ...ids, ...ids]);
    await manager.query('UPDATE event_stream SET last_position = ? WHERE id = 1', [last + ids.length]);
    return ids.length;
  });
}

/**
 * Every position from here on is larger than `now` (Unix ms), as fences are: a database that was brought back from an older dump would else
 * give out positions again that its clients have seen, and they would miss what stands at them now.
 */
export async function raisePositions(database: DataSource, now: number = Date.now()): Promise<void> {
  await database.query('UPDATE event_stream SET last_position = GREATEST(last_position, ?) WHERE id = 1', [now]);
}
