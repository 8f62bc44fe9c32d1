/** A node is there. Time is the database's, so centers need not agree on it. */
import { PermanentError } from '@openservice/domain';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { NOW } from '../jobs/clock.ts';
import { type Plane, timesOf } from '../plane.ts';

/** PermanentError `stale_epoch` for a process that a newer one has replaced. */
export async function heartbeat(
  plane: Pick<Plane, 'database' | 'times'>,
  { node_id, epoch }: CenterRequest<'heartbeat'>,
): Promise<CenterReply<'heartbeat'>> {
  const { database } = plane;
  const lease_ms = timesOf(plane).leaseMs;
  const [node] = await database.query<{ epoch: string | number; sync_wanted: number; state: string }[]>(
    'SELECT epoch, sync_wanted, state FROM nodes WHERE id = ?',
    [node_id],
  );
  if (node !== undefined && Number(node.epoch) > epoch) throw staleEpoch(node_id);
  if (node === undefined || Number(node.epoch) < epoch) return { lease_ms, sync: true };
  await database.query(
    `UPDATE nodes SET last_seen_at = ${NOW}, state = IF(state IN ('suspect', 'offline'), 'online', state) WHERE id = ? AND epoch = ?`,
    [node_id, epoch],
  );
  return { lease_ms, sync: node.sync_wanted === 1 || node.state === 'offline' };
}

export function staleEpoch(nodeId: string): PermanentError {
  return new PermanentError('stale_epoch', `A newer process of node ${nodeId} has taken over; this one must stop.`);
}
