/**
 * The database's clock was set back: what was to come in a moment would come in hours, and a node that is dead would look alive for as long.
 * Whatever lies further ahead than anything is ever put is brought back. (A step forward makes everything due at once, which is harmless but
 * for nodes that look silent: `hearing.ts`.)
 */
import type { DataSource } from '@openservice/store';
import { fromNow, NOW } from '../jobs/clock.ts';

/** Longer than a command waits for its next try, and a job that does not stand still for its deadline; ms. */
const MOST_COMMAND_MS = 120_000;
const MOST_DEADLINE_MS = 900_000;
const SOON_MS = 30_000;

export async function afterSetBack(database: DataSource): Promise<void> {
  await database.query(`UPDATE nodes SET last_seen_at = ${NOW} WHERE last_seen_at > ${fromNow(5_000)}`);
  await database.query(
    `UPDATE outbox SET next_at = ${NOW} WHERE status IN ('pending', 'held') AND next_at > ${fromNow(MOST_COMMAND_MS)}`,
  );
  await database.query(
    `UPDATE jobs SET deadline_at = ${fromNow(SOON_MS)} WHERE deadline_at > ${fromNow(MOST_DEADLINE_MS)} AND state <> 'paused'`,
  );
}
