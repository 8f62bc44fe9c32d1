/** Which node does the work: a directory binds it to its node, which reads all else through other nodes' pool servers; s3 and remote pools are reached by every node. */
import { TransientError } from '@openservice/domain';
import { type EntityManager, type Node, NodeSchema, type Pool } from '@openservice/store';
import { findNode } from './lookups.ts';
import { Refusal } from './refusal.ts';

/** The node that `pool` binds work to; null: any. */
export const nodeOfPool = (pool: Pool): string | null => (pool.type === 'local' || pool.type === 'dedup' ? pool.node_id : null);

export function isReachable(pool: Pool, nodeId: string): boolean {
  const bound = nodeOfPool(pool);
  return bound === null || bound === nodeId;
}

/** The node, or a refusal when it takes no new work. A node that is away for the moment takes it: its command waits. */
export async function workingNode(manager: EntityManager, nodeId: string): Promise<Node> {
  const node = await findNode(manager, nodeId);
  if (node.state === 'draining' || node.state === 'drained') {
    throw new Refusal(
      'node_draining',
      `Node ${nodeId} takes no new jobs (${node.state}); activate it with POST /openstore_v1/nodes/${nodeId}?action=activate.`,
    );
  }
  return node;
}

/** The node that has been seen last among those that are online. TransientError `node_unavailable` when there is none. */
export async function anyOnlineNode(manager: EntityManager): Promise<Node> {
  const [node] = await manager.find(NodeSchema, {
    where: { state: 'online' },
    order: { last_seen_at: 'DESC', id: 'ASC' },
    take: 1,
  });
  if (node !== undefined) return node;
  throw new TransientError('node_unavailable', 'No node is online; start one, or activate one that is draining.');
}
