/** A node is there. Time is the database's, so centers need not agree on it. */
import { PermanentError } from '@openservice/domain';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { fromNow, NOW } from '../jobs/clock.ts';
import { type Plane, timesOf } from '../plane.ts';

/** No lease: it has ended when the reply arrives. */
const NO_LEASE_MS = 1;

/**
 * Renews the lease of a node that still has it. One that was silent for longer gets a new one from a sync alone, together with what has
 * become of its attempts: they may be on other nodes by now. PermanentError `stale_epoch` for a process that a newer one has replaced.
 */
export async function heartbeat(
  plane: Pick<Plane, 'database' | 'times'>,
  { node_id, epoch }: CenterRequest<'heartbeat'>,
): Promise<CenterReply<'heartbeat'>> {
  const { database } = plane;
  const { leaseMs } = timesOf(plane);
  const [node] = await database.query<{ epoch: string | number; sync_wanted: number }[]>(
    'SELECT epoch, sync_wanted FROM nodes WHERE id = ?',
    [node_id],
  );
  if (node !== undefined && Number(node.epoch) > epoch) throw staleEpoch(node_id);
  const { affectedRows } = await database.query<{ affectedRows: number }>(
    `UPDATE nodes SET last_seen_at = ${NOW}, state = IF(state = 'suspect', 'online', state)
     WHERE id = ? AND epoch = ? AND state <> 'offline' AND last_seen_at >= ${fromNow(-leaseMs)}`,
    [node_id, epoch],
  );
  if (affectedRows === 0) return { lease_ms: NO_LEASE_MS, sync: true };
  return { lease_ms: leaseMs, sync: node?.sync_wanted === 1 };
}

export function staleEpoch(nodeId: string): PermanentError {
  return new PermanentError('stale_epoch', `A newer process of node ${nodeId} has taken over; this one must stop.`);
}
