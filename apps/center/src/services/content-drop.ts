/** What a client sent for a block that will not be imported goes from the node that took it. */
import type { DataSource } from '@openservice/store';
import type { Log, NodeCalls } from '../http/deps.ts';
import { fromNow, NOW } from '../jobs/clock.ts';

const DROP_LIMIT_MS = 5_000;
/** A node that is away is asked again after this, ms. */
const AGAIN_MS = 300_000;

/** Rows that stay for their content's sake alone: given up (`error`), or on their way out. */
export const DROPPABLE_SQL = `content_node_id IS NOT NULL AND root_digest IS NULL AND state IN ('error', 'deleting') AND purge_at <= ${NOW}`;

interface Deps {
  database: DataSource;
  nodes: NodeCalls;
  log: Pick<Log, 'warn'>;
}

/** Has the block's node drop what it holds of it, if that is due, and finishes the row. A node that is away is asked again by reconcile. */
export async function dropContent({ database, nodes, log }: Deps, blockId: string): Promise<void> {
  const [due] = await database.query<{ content_node_id: string }[]>(
    `SELECT content_node_id FROM blocks WHERE id = ? AND ${DROPPABLE_SQL}`,
    [blockId],
  );
  if (due === undefined) return;
  try {
    await nodes.call(due.content_node_id, 'content_drop', { block_id: blockId }, { timeoutMs: DROP_LIMIT_MS });
  } catch (error) {
    const what = 'a node could not drop what a client sent for a block that is not wanted any more; it is asked again';
    log.warn({ block_id: blockId, node_id: due.content_node_id, why: String(error) }, what);
    await database.query(`UPDATE blocks SET purge_at = ${fromNow(AGAIN_MS)} WHERE id = ? AND ${DROPPABLE_SQL}`, [blockId]);
    return;
  }
  await database.query(`DELETE FROM blocks WHERE id = ? AND state = 'deleting' AND ${DROPPABLE_SQL}`, [blockId]);
  await database.query(`UPDATE blocks SET content_node_id = NULL, purge_at = NULL WHERE id = ? AND ${DROPPABLE_SQL}`, [blockId]);
}
