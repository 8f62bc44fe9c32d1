/**
 * A webhook is one center's at a time, so that its deliveries go one after the other. The lease is a row's, by the database's clock; its fence
 * grows with each, and every write of the holder asks for it: one that was stopped and goes on writes nothing any more (what it had sent may be
 * sent again: at least once).
 */
import type { DataSource, EntityManager } from '@openservice/store';
import { fromNow, NOW } from '../jobs/clock.ts';

/** Longer than a try takes. */
export const LEASE_MS = 30_000;

export interface WebhookLease {
  id: string;
  fence: number;
}

/** Webhooks that nobody has and that have something to do: events that were not looked at, or a delivery that is due. At most `most`. */
export async function leaseDue(database: DataSource, last: number, most: number): Promise<WebhookLease[]> {
  const due = await database.query<{ id: string; fence: string | number }[]>(
    `SELECT w.id, w.lease_fence AS fence FROM webhooks w WHERE w.leased_until <= ${NOW} AND (w.position < ? OR (
       SELECT d.next_at FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.state = 'pending' ORDER BY d.position LIMIT 1
     ) <= ${NOW}) ORDER BY w.leased_until LIMIT ${most}`,
    [last],
  );
  const leased: WebhookLease[] = [];
  for (const { id, fence } of due) {
    const { affectedRows } = await database.query<{ affectedRows: number }>(
      `UPDATE webhooks SET leased_until = ${fromNow(LEASE_MS)}, lease_fence = lease_fence + 1
       WHERE id = ? AND lease_fence = ? AND leased_until <= ${NOW}`,
      [id, Number(fence)],
    );
    if (affectedRows === 1) leased.push({ id, fence: Number(fence) + 1 });
  }
  return leased;
}

/** For LEASE_MS from now. False: it is somebody else's, or gone. */
export async function renew(database: DataSource | EntityManager, { id, fence }: WebhookLease): Promise<boolean> {
  const { affectedRows } = await database.query<{ affectedRows: number }>(
    `UPDATE webhooks SET leased_until = ${fromNow(LEASE_MS)} WHERE id = ? AND lease_fence = ?`,
    [id, fence],
  );
  return affectedRows === 1;
}

export async function release(database: DataSource, { id, fence }: WebhookLease): Promise<void> {
  await database.query(`UPDATE webhooks SET leased_until = ${NOW} WHERE id = ? AND lease_fence = ?`, [id, fence]);
}
