/** Which nodes are there, by the database's clock. */
import { type DataSource, inTransaction } from '@openservice/store';
import { fromNow } from '../jobs/clock.ts';
import { DEFAULT_TIMES, type Times } from '../plane.ts';

/** What a node that has gone offline had is looked at now, not when its deadline passes. */
const AT_NODE = "'queued', 'dispatched', 'accepted', 'running', 'paused', 'preparing', 'committing', 'cancelling'";

/**
 * `wasHeard`: heartbeats could have come all the time that a node may be silent. Without that nobody is offline: it may be NATS, the database
 * or the centers that were away, and jobs must not leave nodes that are well.
 */
export async function markPresence(database: DataSource, wasHeard = true, times: Times = DEFAULT_TIMES): Promise<void> {
  if (wasHeard) {
    const gone = await database.query<{ id: string }[]>(
      `SELECT id FROM nodes WHERE state IN ('online', 'suspect') AND last_seen_at < ${fromNow(-times.offlineMs)}`,
    );
    for (const { id } of gone) await markOffline(database, id, times);
  }
  await database.query(
    `UPDATE nodes SET state = 'suspect' WHERE state = 'online' AND last_seen_at < ${fromNow(-times.suspectMs)}`,
  );
}

async function markOffline(database: DataSource, nodeId: string, times: Times): Promise<void> {
  await inTransaction(database, async (manager) => {
    const { affectedRows } = await manager.query<{ affectedRows: number }>(
      `UPDATE nodes SET state = 'offline'
       WHERE id = ? AND state IN ('online', 'suspect') AND last_seen_at < ${fromNow(-times.offlineMs)}`,
      [nodeId],
    );
    if (affectedRows === 0) return;
    await manager.query(`UPDATE jobs SET deadline_at = ${fromNow(-1_000)} WHERE node_id = ? AND state IN (${AT_NODE})`, [nodeId]);
  });
}
