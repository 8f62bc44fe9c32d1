/** Messages that no center can use, kept where people can see them. */
import type { DataSource } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';

const MAX_BODY = 1_000_000;

export async function bury(database: DataSource, subject: string, reason: string, body: Uint8Array): Promise<void> {
  const text = Buffer.from(body.subarray(0, MAX_BODY)).toString('utf8');
  await database.query(`INSERT INTO dead_letters (subject, reason, body, at) VALUES (?, ?, ?, ${NOW})`, [
    subject.slice(0, 255),
    reason.slice(0, 2000),
    text,
  ]);
}
