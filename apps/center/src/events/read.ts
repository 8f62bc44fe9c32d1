/** Events from MySQL, in the order of the stream. */
import type { DataSource } from '@openservice/store';
import { type EventFilter, isWanted } from './filter.ts';
import { EVENT_COLUMNS, type RawEvent, type StoredEvent, storedEvent } from './stored-event.ts';

export interface Batch {
  events: StoredEvent[];
  /** All up to this position was looked at. */
  upTo: number;
  /** Set where retention has removed events after the position that was asked for: those up to this one cannot be had any more. */
  goneUpTo?: number;
}

/**
 * Looks at `limit` events after `after` and up to `last`, and answers those that `filter` wants. `last` must be a position that the stream
 * has reached: then none can come in between later.
 */
export async function readEvents(
  database: DataSource,
  { after, last, limit, filter }: { after: number; last: number; limit: number; filter: EventFilter },
): Promise<Batch> {
  if (after >= last) return { events: [], upTo: after };
  const ofJob = filter.job_id == null ? [] : [filter.job_id];
  const rows = await database.query<RawEvent[]>(
    `SELECT ${EVENT_COLUMNS} FROM events WHERE position > ? AND position <= ?${ofJob.length === 0 ? '' : ' AND job_id = ?'}
     ORDER BY position LIMIT ${limit}`,
    [after, last, ...ofJob],
  );
  const upTo = rows.length < limit ? last : Number(rows.at(-1)!.position);
  return { events: rows.filter((row) => isWanted(filter, row)).map(storedEvent), upTo };
}
