/**
 * What is wrong and a person should know. Whoever looks owns a scope: what a look finds replaces what stood there, so an anomaly is gone with
 * the look that no longer finds it. What is seen only in passing (a message that must not be) stays for a time instead.
 */
import { newId } from '@openservice/domain';
import type { EntityManager } from '@openservice/store';
import { recordEvent } from '../events/record.ts';
import { fromNow, NOW } from '../jobs/clock.ts';

export const ANOMALY_KINDS = [
  'unknown_block',
  'missing_replica',
  'unknown_instance',
  'lost_instance',
  'unknown_job',
  'two_processes',
  'clock_off',
  'dead_letters',
  'webhook_failing',
] as const;
export type AnomalyKind = (typeof ANOMALY_KINDS)[number];

export interface Found {
  kind: AnomalyKind;
  /** `<what>:<id>`, several joined by "/". */
  resource: string;
  /** What is wrong; a sentence. */
  detail: string;
  /** What a person can do; a sentence. */
  remedy: string;
}

/** All that a look at `scope` has found. How many came and how many went. */
export async function replaceFound(manager: EntityManager, scope: string, found: readonly Found[]): Promise<[number, number]> {
  const before = await manager.query<{ id: string; kind: AnomalyKind; resource: string }[]>(
    'SELECT id, kind, resource FROM anomalies WHERE scope = ? AND expires_at IS NULL FOR UPDATE',
    [scope],
  );
  const key = ({ kind, resource }: Pick<Found, 'kind' | 'resource'>): string => `${kind} ${resource}`;
  const now = new Set(found.map(key));
  const known = new Set(before.map(key));
  for (const one of found) await write(manager, scope, one, null);
  for (const one of found) if (!known.has(key(one))) await tell(manager, 'anomaly.found', one);
  const healed = before.filter((one) => !now.has(key(one)));
  for (const one of healed) {
    await manager.query('DELETE FROM anomalies WHERE id = ?', [one.id]);
    await tell(manager, 'anomaly.healed', one);
  }
  return [found.filter((one) => !known.has(key(one))).length, healed.length];
}

/** Seen now, and to be listed for `keepMs` after it was seen last. */
export async function noteFound(manager: EntityManager, scope: string, found: Found, keepMs: number): Promise<void> {
  const known = await manager.query<unknown[]>('SELECT id FROM anomalies WHERE kind = ? AND scope = ? AND resource = ?', [
    found.kind,
    scope,
    found.resource,
  ]);
  await write(manager, scope, found, keepMs);
  if (known.length === 0) await tell(manager, 'anomaly.found', found);
}

/** What was not seen again goes. */
export async function expireFound(manager: EntityManager): Promise<void> {
  const over = await manager.query<{ id: string; kind: AnomalyKind; resource: string }[]>(
    `SELECT id, kind, resource FROM anomalies WHERE expires_at < ${NOW} FOR UPDATE`,
  );
  for (const one of over) {
    await manager.query('DELETE FROM anomalies WHERE id = ?', [one.id]);
    await tell(manager, 'anomaly.healed', one);
  }
}

/** One that is known stays since when it is, and stays dismissed. */
async function write(manager: EntityManager, scope: string, found: Found, keepMs: number | null): Promise<void> {
  await manager.query(
    `INSERT INTO anomalies (id, kind, scope, resource, detail, remedy, since, seen_at, expires_at)
     VALUES (?, ?, ?, ?, ?, ?, ${NOW}, ${NOW}, ${keepMs === null ? 'NULL' : fromNow(keepMs)})
     ON DUPLICATE KEY UPDATE detail = VALUES(detail), remedy = VALUES(remedy), seen_at = VALUES(seen_at), expires_at = VALUES(expires_at)`,
    [newId('anomaly'), found.kind, scope, found.resource, found.detail.slice(0, 2_000), found.remedy.slice(0, 2_000)],
  );
}

async function tell(manager: EntityManager, type: string, { kind, resource }: Pick<Found, 'kind' | 'resource'>): Promise<void> {
  const ids = Object.fromEntries(resource.split('/').map((part) => part.split(':') as [string, string]));
  await recordEvent(manager, {
    type,
    job_id: ids.job ?? null,
    block_id: ids.block ?? null,
    node_id: ids.node ?? null,
    pool_id: ids.pool ?? null,
    instance_id: ids.instance ?? null,
    data: { kind, resource },
  });
}
