/** Which nodes are there, by the database's clock. */
import type { DataSource } from '@openservice/store';
import { fromNow } from '../jobs/clock.ts';

export const SUSPECT_MS = 30_000;
export const OFFLINE_MS = 60_000;

export async function markPresence(database: DataSource): Promise<void> {
  await database.query(
    `UPDATE nodes SET state = 'offline' WHERE state IN ('online', 'suspect') AND last_seen_at < ${fromNow(-OFFLINE_MS)}`,
  );
  await database.query(`UPDATE nodes SET state = 'suspect' WHERE state = 'online' AND last_seen_at < ${fromNow(-SUSPECT_MS)}`);
}
