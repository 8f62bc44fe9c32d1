/** Rows that have done their work go, in small batches that hold no lock for long. */
import type { DataSource } from '@openservice/store';
import { fromNow } from '../jobs/clock.ts';

const DAY = 86_400_000;
const BATCH = 500;

export async function sweep(database: DataSource): Promise<void> {
  await database.query(
    `DELETE FROM outbox WHERE status = 'done' AND next_at < ${fromNow(-DAY)} ORDER BY next_at, id LIMIT ${BATCH}`,
  );
  // Longer than JetStream keeps an event: what could still come again must still be known.
  await database.query(`DELETE FROM inbox WHERE at < ${fromNow(-14 * DAY)} ORDER BY at LIMIT ${BATCH}`);
  // Those that were redriven and taken; the others are for people to decide.
  await database.query(
    `DELETE FROM dead_letters WHERE redriven_at < ${fromNow(-14 * DAY)} AND outcome <> 'refused' ORDER BY id LIMIT ${BATCH}`,
  );
  await database.query(`DELETE FROM idempotency_keys WHERE created_at < ${fromNow(-DAY)} ORDER BY created_at LIMIT ${BATCH}`);
}
