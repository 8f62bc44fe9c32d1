/** `block_count` of a set: its blocks, but for those in the trash. */
import type { EntityManager } from '@openservice/store';
import { findSet } from './lookups.ts';

/** A block in the trash, or on its way out of it for good: such a one is not of its set. Without an alias, of table `blocks`. */
export const IN_TRASH_SQL = "(purge_at IS NOT NULL AND state IN ('trashed', 'deleting'))";

/** Counts one more block of the set, locked. 404 when there is none. */
export async function joinSet(manager: EntityManager, setId: string): Promise<void> {
  await findSet(manager, setId, { lock: true });
  await manager.query('UPDATE sets SET block_count = block_count + 1 WHERE id = ?', [setId]);
}

export async function leaveSet(manager: EntityManager, setId: string | null): Promise<void> {
  if (setId === null) return;
  await manager.query('UPDATE sets SET block_count = GREATEST(0, block_count - 1) WHERE id = ?', [setId]);
}
