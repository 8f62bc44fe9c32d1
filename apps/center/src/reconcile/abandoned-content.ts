/** What clients sent for blocks that are not wanted any more goes from the nodes that hold it, as they can be reached. */
import type { DataSource } from '@openservice/store';
import type { Log, NodeCalls } from '../http/deps.ts';
import { DROPPABLE_SQL, dropContent } from '../services/content-drop.ts';

/** Each waits for its node; a pass is not to take long. */
const MOST_A_PASS = 5;

export async function dropAbandoned(deps: { database: DataSource; nodes: NodeCalls; log: Pick<Log, 'warn'> }): Promise<void> {
  const due = await deps.database.query<{ id: string }[]>(
    `SELECT id FROM blocks WHERE ${DROPPABLE_SQL} ORDER BY purge_at LIMIT ${MOST_A_PASS}`,
  );
  await Promise.all(due.map(({ id }) => dropContent(deps, id)));
}
