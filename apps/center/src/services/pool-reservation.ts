/**
 * A pool's row stands before its place is probed, so that the id written into the place is never lost by a crash: the same
 * call again finds the reservation and goes on with its id, and with its key. Until it is confirmed it is hidden from the API.
 */
import { type DataSource, type EntityManager, inTransaction, isDuplicate, type Pool, PoolSchema } from '@openservice/store';
import { formerId, placeOf, samePlace } from './pool-place.ts';
import { Refusal } from './refusal.ts';

const UNCONFIRMED = -1;

/** A reservation older than this was left behind by a crash (ms); a probe takes far less. */
const RESERVATION_MS = 120_000;

export const RESERVED = { state: 'unavailable', capacity_bytes: UNCONFIRMED } as const;

/** SQL for rows (alias `t`) that are pools, not reservations. */
export const CONFIRMED_SQL = `(t.capacity_bytes IS NULL OR t.capacity_bytes <> ${UNCONFIRMED})`;

export function isReservation(pool: Pick<Pool, 'state' | 'capacity_bytes'>): boolean {
  return pool.state === RESERVED.state && pool.capacity_bytes === UNCONFIRMED;
}

const isFresh = (pool: Pool): boolean => pool.created_at.getTime() > Date.now() - RESERVATION_MS;

export const nameTaken = (name: string): Refusal =>
  new Refusal('name_taken', `There is a pool named "${name}" already; choose another name.`);

export interface ReserveOptions {
  /** The id that the place bears already: the pool is taken over under it. */
  adopt: string | undefined;
  /** The key of `wanted` was made for this call, so the one of a reservation that is gone on with holds. */
  freshKey: boolean;
}

/**
 * The row under its final id. A reservation of the same name that was left behind is taken over or replaced. Refusal `name_taken`,
 * `pool_exists`.
 */
export async function reserve(database: DataSource, wanted: Pool, { adopt, freshKey }: ReserveOptions): Promise<Pool> {
  const place = placeOf(wanted);
  try {
    return await inTransaction(database, async (manager) => {
      const same = await manager.findOne(PoolSchema, { where: { name: wanted.name }, lock: { mode: 'pessimistic_write' } });
      if (same !== null && !isReservation(same)) throw nameTaken(wanted.name);
      const former = same !== null && placeOf(same) === place ? same : null;
      if (same !== null && former === null && isFresh(same)) throw nameTaken(wanted.name);
      await refuseSamePlace(manager, wanted);
      if (adopt !== undefined) await refuseSameId(manager, adopt, wanted.name);
      const id = adopt ?? former?.id ?? (await formerId(manager, place)) ?? wanted.id;
      const pool_key_sealed = (freshKey ? former?.pool_key_sealed : null) ?? wanted.pool_key_sealed;
      if (same !== null) await manager.delete(PoolSchema, { id: same.id });
      const pool = { ...wanted, id, pool_key_sealed };
      await manager.insert(PoolSchema, pool);
      return pool;
    });
  } catch (error) {
    if (isDuplicate(error)) throw nameTaken(wanted.name);
    throw error;
  }
}

/** Of two that come at once, the one with the smaller id wins. */
export async function refuseSamePlace(manager: EntityManager, wanted: Pool): Promise<void> {
  const others = (await samePlace(manager, wanted)).filter((pool) => pool.id !== wanted.id && pool.name !== wanted.name);
  const first = others.find((pool) => !isReservation(pool) || (pool.id < wanted.id && isFresh(pool)));
  if (first === undefined) return;
  if (isReservation(first)) {
    throw new Refusal(
      'pool_exists',
      `Another call is creating pool "${first.name}" in this place; repeat that one if it failed, or try again in two minutes.`,
    );
  }
  const where =
    placeOf(first) === placeOf(wanted)
      ? 'is in this place already'
      : `is at ${first.path}, and one pool must not lie inside another`;
  throw new Refusal('pool_exists', `Pool ${first.id} ("${first.name}") ${where}; use it, or choose another place.`, {
    pool_id: first.id,
  });
}

async function refuseSameId(manager: EntityManager, id: string, name: string): Promise<void> {
  const there = await manager.findOneBy(PoolSchema, { id });
  if (there === null || (isReservation(there) && there.name === name)) return;
  throw new Refusal('pool_exists', `Pool ${id} is one of this center ("${there.name}") already; use it.`, {
    pool_id: id,
    errors: [{ path: 'id', message: 'is the id of a pool of this center' }],
  });
}
