/** Deliveries: made of events in their order, tried until they are taken, listed as failed when they were not for too long. */
import { type DataSource, type EntityManager, inTransaction, type WebhookFilters } from '@openservice/store';
import { isWanted } from '../events/filter.ts';
import { readEvents } from '../events/read.ts';
import { streamState } from '../events/sequence.ts';
import { eventView } from '../events/stored-event.ts';
import { fromNow, NOW } from '../jobs/clock.ts';
import { renew, type WebhookLease } from './lease.ts';

const EVENTS_A_STEP = 200;
/** Deliveries of one webhook that wait; the rest waits in the stream. */
const MOST_PENDING = 1_000;
/** An event that was not delivered for this long has failed, ms. */
export const EXPIRES_MS = 24 * 3_600_000;
const MOST_TRIES = 15;
/** A receiver that answers 4xx does not like this very delivery: those behind it are not kept waiting for long. */
const MOST_REFUSED = 5;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 3_600_000;
/** Of 4xx, those that say nothing of the delivery itself. */
const LATER = new Set([408, 425, 429]);

export interface DueDelivery {
  position: number;
  type: string;
  body: string;
  tries: number;
  expired: boolean;
}

export interface Outcome {
  ok: boolean;
  /** Null where there was no answer. */
  status: number | null;
  /** A sentence; null where it went well. */
  error: string | null;
}

/** Makes deliveries of the next events. False: nothing more to look at now, or the lease is lost. */
export async function takeEvents(database: DataSource, lease: WebhookLease, last: number): Promise<boolean> {
  return inTransaction(database, async (manager) => {
    const webhook = await held(manager, lease);
    if (webhook === null || webhook.position >= last) return false;
    const [pending] = await manager.query<{ n: string | number }[]>(
      "SELECT COUNT(*) AS n FROM webhook_deliveries WHERE webhook_id = ? AND state = 'pending'",
      [lease.id],
    );
    if (Number(pending?.n ?? 0) >= MOST_PENDING) return false;
    const { events, upTo } = await readEvents(database, { after: webhook.position, last, limit: EVENTS_A_STEP, filter: {} });
    const { floor } = await streamState(database);
    if (floor > webhook.position) {
      const gap = { id: floor, type: 'gap', data: { after: webhook.position, until: floor, reason: 'retention' } };
      await insert(manager, lease.id, floor, 'gap', gap, new Date());
      await manager.query('UPDATE webhooks SET position = ? WHERE id = ?', [floor, lease.id]);
      return true;
    }
    for (const event of events) {
      if (isWanted(webhook.filters, event))
        await insert(manager, lease.id, event.position, event.type, eventView(event), event.at);
    }
    await manager.query('UPDATE webhooks SET position = ? WHERE id = ?', [upTo, lease.id]);
    return upTo < last;
  });
}

async function insert(manager: EntityManager, id: string, position: number, type: string, body: object, at: Date): Promise<void> {
  await manager.query(
    `INSERT IGNORE INTO webhook_deliveries (webhook_id, position, type, body, state, next_at, expires_at, updated_at)
     VALUES (?, ?, ?, ?, 'pending', ${NOW}, ?, ${NOW})`,
    [id, position, type, JSON.stringify(body), new Date(at.getTime() + EXPIRES_MS)],
  );
}

interface Held {
  position: number;
  filters: WebhookFilters;
}

/** The webhook's row, locked; null when the lease is lost. */
async function held(manager: EntityManager, { id, fence }: WebhookLease): Promise<Held | null> {
  const [row] = await manager.query<{ position: string | number; filters: string | WebhookFilters }[]>(
    'SELECT position, filters FROM webhooks WHERE id = ? AND lease_fence = ? FOR UPDATE',
    [id, fence],
  );
  if (row === undefined) return null;
  return { position: Number(row.position), filters: typeof row.filters === 'string' ? JSON.parse(row.filters) : row.filters };
}

/** The first in order, if it is due; those behind it wait for it. The lease is renewed for one try. */
export async function nextDue(database: DataSource, lease: WebhookLease): Promise<DueDelivery | null> {
  if (!(await renew(database, lease))) return null;
  const [row] = await database.query<
    { position: string | number; type: string; body: string; tries: number; due: number; expired: number }[]
  >(
    `SELECT position, type, body, tries, next_at <= ${NOW} AS due, expires_at <= ${NOW} AS expired FROM webhook_deliveries
     WHERE webhook_id = ? AND state = 'pending' ORDER BY position LIMIT 1`,
    [lease.id],
  );
  if (row === undefined || Number(row.due) !== 1) return null;
  return { ...row, position: Number(row.position), expired: Number(row.expired) === 1 };
}

/** Writes what came of a try. False: the lease is lost, and another center decides. */
export async function settle(
  database: DataSource,
  lease: WebhookLease,
  delivery: DueDelivery,
  outcome: Outcome,
): Promise<boolean> {
  return inTransaction(database, async (manager) => {
    if ((await held(manager, lease)) === null) return false;
    const tries = delivery.tries + 1;
    const over = tries >= (isRefusal(outcome.status) ? MOST_REFUSED : MOST_TRIES) || delivery.expired;
    const state = outcome.ok ? 'delivered' : over ? 'failed' : 'pending';
    await manager.query(
      `UPDATE webhook_deliveries SET state = ?, tries = ?, status = ?, error_message = ?, next_at = ${fromNow(retryMs(tries))},
       updated_at = ${NOW} WHERE webhook_id = ? AND position = ? AND state = 'pending'`,
      [state, tries, outcome.status, outcome.error?.slice(0, 2_000) ?? null, lease.id, delivery.position],
    );
    await manager.query(
      `UPDATE webhooks SET state = ?, error_message = ?, failing_since = ${outcome.ok ? 'NULL' : `COALESCE(failing_since, ${NOW})`} WHERE id = ?`,
      [outcome.ok ? 'active' : 'failing', outcome.error?.slice(0, 2_000) ?? null, lease.id],
    );
    return true;
  });
}

function isRefusal(status: number | null): boolean {
  return status !== null && status >= 400 && status < 500 && !LATER.has(status);
}

/** Half to the whole of a step that doubles: those who failed together do not come back together. */
function retryMs(tries: number): number {
  return Math.round(Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (tries - 1)) * (0.5 + Math.random() / 2));
}

const KEPT_MS = 7 * 24 * 3_600_000;
const MOST_FAILED = 10_000;
const BATCH = 1_000;

/** Deliveries that have ended go after a week; of the failed ones of a webhook the newest ten thousand stay at most. */
export async function sweepDeliveries(database: DataSource): Promise<void> {
  for (const state of ['delivered', 'failed']) {
    await database.query(
      `DELETE FROM webhook_deliveries WHERE state = '${state}' AND updated_at < ${fromNow(-KEPT_MS)} ORDER BY updated_at LIMIT ${BATCH}`,
    );
  }
  for (const { id } of await database.query<{ id: string }[]>('SELECT id FROM webhooks')) {
    const [kept] = await database.query<{ position: string | number }[]>(
      `SELECT position FROM webhook_deliveries WHERE webhook_id = ? AND state = 'failed' ORDER BY position DESC LIMIT 1 OFFSET ${MOST_FAILED}`,
      [id],
    );
    if (kept === undefined) continue;
    await database.query(
      `DELETE FROM webhook_deliveries WHERE webhook_id = ? AND state = 'failed' AND position <= ? ORDER BY position LIMIT ${BATCH}`,
      [id, Number(kept.position)],
    );
  }
}
