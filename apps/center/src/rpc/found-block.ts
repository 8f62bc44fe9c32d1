/** One block that a pool was found to hold: its rows are made where they lack, and never changed where they say something else. */
import { isBlockShape, isId, MAX_BLOCK_SIZE, newId } from '@openservice/domain';
import type { CenterRequest } from '@openservice/runtime';
import type { BlockState, EntityManager, Replica } from '@openservice/store';
import { fromNow, NOW } from '../jobs/clock.ts';
import { leaveSet } from '../services/set-membership.ts';

type Found = CenterRequest<'found'>['blocks'][number];

/** What a transaction has added, for the pool's counters. */
export interface Counted {
  /** How long the center keeps deleted blocks. */
  readonly trashMs: number;
  blocks: number;
  stored: number;
  logical: number;
}

/** When a block found in the trash was put there is not known: it can be had back for a whole window from now, a day at least. */
function purgeAt(found: Found, trashMs: number): string {
  return found.trashed ? fromNow(Math.max(trashMs, 24 * 3600_000)) : 'NULL';
}

interface Known {
  state: BlockState;
  size: number;
  chunk_size: number;
  root_digest: string | null;
  set_id: string | null;
}

/** `added` where a row was made, `known` where all were there, else one sentence: why the block was left alone. */
export async function addFound(manager: EntityManager, poolId: string, found: Found, counted: Counted): Promise<string> {
  const odd = oddity(found);
  if (odd !== null) return odd;
  const block = await lockKnown(manager, found.id);
  if (block === null) await insertBlock(manager, found, counted.trashMs);
  else {
    const [replica] = await manager.query<Pick<Replica, 'state'>[]>(
      'SELECT state FROM replicas WHERE block_id = ? AND pool_id = ? FOR UPDATE',
      [found.id, poolId],
    );
    const conflict = contradiction(found, block, replica?.state ?? null);
    if (conflict !== null) return conflict;
    if (replica !== undefined) return 'known';
    if (block.state === 'error') await healBlock(manager, found, block, counted.trashMs);
  }
  await manager.query(`INSERT INTO replicas (block_id, pool_id, state, stored_bytes, created_at) VALUES (?, ?, ?, ?, ${NOW})`, [
    found.id,
    poolId,
    found.trashed ? 'trashed' : 'available',
    found.stored_bytes,
  ]);
  counted.blocks += 1;
  counted.stored += found.stored_bytes;
  counted.logical += found.size;
  return 'added';
}

/** What no center ever wrote. */
function oddity(found: Found): string | null {
  const named = `The pool holds "${found.id.slice(0, 64)}"`;
  if (!isId('block', found.id)) return `${named}, which is no id of a block.`;
  if (!/^[0-9a-f]{64}$/.test(found.root_digest)) return `${named} with a root digest that is none.`;
  // A sum of those must stay one that a column holds.
  if (found.stored_bytes > 2 * MAX_BLOCK_SIZE)
    return `${named} with ${found.stored_bytes} stored bytes, more than a block takes.`;
  if (!isBlockShape(found.size, found.chunk_size))
    return `${named} with ${found.size} bytes in chunks of ${found.chunk_size}, which no block has.`;
  return null;
}

async function lockKnown(manager: EntityManager, id: string): Promise<Known | null> {
  const [row] = await manager.query<(Known & { size: string | number })[]>(
    'SELECT state, size, chunk_size, root_digest, set_id FROM blocks WHERE id = ? FOR UPDATE',
    [id],
  );
  return row === undefined ? null : { ...row, size: Number(row.size) };
}

function contradiction(found: Found, block: Known, replica: Replica['state'] | null): string | null {
  const named = `Block ${found.id}`;
  if (block.state === 'creating' || block.state === 'deleting') {
    return `${named} is being ${block.state === 'creating' ? 'created' : 'deleted'} by a job; rebuild again when that has ended.`;
  }
  const same = block.size === found.size && (block.root_digest === null || block.root_digest === found.root_digest);
  if (!same || block.chunk_size !== found.chunk_size) {
    return `${named} has other content in the pool (${found.size} bytes, root digest ${found.root_digest}) than the center knows of; it was left alone.`;
  }
  if (replica === 'deleting' || replica === 'creating')
    return `${named} is ${replica} in the pool by a job; rebuild again when that has ended.`;
  if (block.state === 'error' && replica === null) return null;
  const trashed = (replica ?? block.state) === 'trashed';
  if (trashed === found.trashed) return null;
  return found.trashed
    ? `${named} is in the pool's trash, and in use for the center; verify it, and delete that replica if it is damaged.`
    : `${named} is in the trash for the center, but not in the pool; undelete it or delete it once more.`;
}

/** Its last replica had gone, or its import had failed when the pool had it already: here it is. */
async function healBlock(manager: EntityManager, found: Found, block: Known, trashMs: number): Promise<void> {
  await manager.query(
    `UPDATE blocks SET state = ?, root_digest = ?, error_code = NULL, error_message = NULL, purge_at = ${purgeAt(found, trashMs)} WHERE id = ?`,
    [found.trashed ? 'trashed' : 'available', found.root_digest, found.id],
  );
  if (found.trashed) await leaveSet(manager, block.set_id);
}

async function insertBlock(manager: EntityManager, found: Found, trashMs: number): Promise<void> {
  const { meta } = found;
  const setId = meta === null ? null : await setOf(manager, meta, !found.trashed);
  await manager.query(
    `INSERT INTO blocks (id, name, set_id, size, chunk_size, state, root_digest, parent_block_id, purge_at, created_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ${purgeAt(found, trashMs)}, ?)`,
    [
      found.id,
      plain(meta?.name) ?? `recovered ${found.id}`,
      setId,
      found.size,
      found.chunk_size,
      found.trashed ? 'trashed' : 'available',
      found.root_digest,
      meta?.parent_block_id != null && isId('block', meta.parent_block_id) ? meta.parent_block_id : null,
      madeAt(meta),
    ],
  );
}

/** A pool may hold anything in place of a name: what a call would refuse is left out of it. Null: nothing is left. */
function plain(name: string | null | undefined): string | null {
  const left = (name ?? '')
    .toWellFormed()
    .replaceAll(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, 255)
    .toWellFormed();
  return left === '' ? null : left;
}

/** A time that is none, or that no clock had yet: now. */
function madeAt(meta: Found['meta']): Date {
  const [made, now] = [new Date(meta?.created_at ?? Number.NaN), new Date()];
  return made.getTime() > 0 && made < now ? made : now;
}

/** The set by its id, made where it lacks; one whose id is not known by its name. `counts`: a block in the trash is not one of its set's. */
async function setOf(manager: EntityManager, meta: NonNullable<Found['meta']>, counts: boolean): Promise<string | null> {
  const name = plain(meta.set_name) ?? plain(meta.set_id);
  if (name === null) return null;
  const given = meta.set_id !== null && isId('set', meta.set_id) ? meta.set_id : null;
  const id = given ?? (await setNamed(manager, name)) ?? newId('set');
  await manager.query(
    `INSERT INTO sets (id, name, description, labels, block_count, created_at) VALUES (?, ?, '', '{}', ?, ${NOW})
     ON DUPLICATE KEY UPDATE block_count = block_count + VALUES(block_count)`,
    [id, name, counts ? 1 : 0],
  );
  return id;
}

async function setNamed(manager: EntityManager, name: string): Promise<string | null> {
  const [row] = await manager.query<{ id: string }[]>('SELECT id FROM sets WHERE name = ? ORDER BY id LIMIT 1', [name]);
  return row?.id ?? null;
}
