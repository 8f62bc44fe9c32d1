/** The end of a block's row. */
import type { Block, EntityManager } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';
import { leaveSet } from './set-membership.ts';

type Going = Pick<Block, 'id' | 'set_id' | 'root_digest' | 'content_node_id' | 'purge_at'>;

/**
 * Deletes the row. Where a node may still hold what a client sent for it, the row stays, `deleting` and due, until that node has dropped it
 * (content-drop.ts): nothing else knows of it. `counted`: it is one of its set's.
 */
export async function removeBlockRow(manager: EntityManager, block: Going, counted: boolean): Promise<void> {
  if (counted) await leaveSet(manager, block.set_id);
  if (block.content_node_id === null || block.root_digest !== null) {
    await manager.query('DELETE FROM blocks WHERE id = ?', [block.id]);
    return;
  }
  await manager.query(`UPDATE blocks SET state = 'deleting', set_id = NULL, purge_at = ${NOW} WHERE id = ?`, [block.id]);
}
