/**
 * A pool's row stands before its place is probed, so that the id written into the place is never lost by a crash: the same
 * call again finds the reservation and goes on with its id. Until it is confirmed it is hidden from the API.
 */
import type { Pool } from '@openservice/store';

const UNCONFIRMED = -1;

/** A reservation older than this was left behind by a crash (ms); a probe takes far less. */
export const RESERVATION_MS = 120_000;

export const RESERVED = { state: 'unavailable', capacity_bytes: UNCONFIRMED } as const;

/** SQL for rows (alias `t`) that are pools, not reservations. */
export const CONFIRMED_SQL = `(t.capacity_bytes IS NULL OR t.capacity_bytes <> ${UNCONFIRMED})`;

export function isReservation(pool: Pick<Pool, 'state' | 'capacity_bytes'>): boolean {
  return pool.state === RESERVED.state && pool.capacity_bytes === UNCONFIRMED;
}

type Place = Pick<Pool, 'type' | 'node_id' | 'path' | 's3_scheme' | 'endpoint' | 'bucket' | 'prefix'>;

/** Equal for two pools that would store in the same place. */
export function placeOf(pool: Place): string {
  if (pool.type === 'local') return `local ${pool.node_id} ${pool.path}`;
  // A bucket's name is unique at a provider, whatever the region.
  return `s3 ${pool.endpoint ?? pool.s3_scheme} ${pool.bucket} ${pool.prefix ?? ''}`;
}
