/** Which node does the work: a directory binds it to its node, which reads all else through other nodes' pool servers; s3 and remote pools are reached by every node. */
import { TransientError } from '@openservice/domain';
import { type EntityManager, type Node, NodeSchema, type Pool } from '@openservice/store';
import { findNode } from './lookups.ts';
import { Refusal } from './refusal.ts';

/** The node that `pool` binds work to; null: any. */
export const nodeOfPool = (pool: Pool): string | null => (pool.type === 'local' || pool.type === 'dedup' ? pool.node_id : null);

/** The node, or a refusal when it takes no new work. A node that is away for the moment takes it: its command waits. */
export async function workingNode(manager: EntityManager, nodeId: string): Promise<Node> {
  const node = await findNode(manager, nodeId);
  if (takesWork(node)) return node;
  throw new Refusal(
    'node_draining',
    `Node ${nodeId} takes no new jobs (${node.state}); activate it with POST /openstore_v1/nodes/${nodeId}?action=activate.`,
  );
}

const takesWork = (node: Node): boolean => node.state !== 'draining' && node.state !== 'drained';

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

/** `asked` where it is given, else the node of the first pool that binds work to one, else any that is online. */
export async function chooseNode(manager: EntityManager, asked: string | undefined, ...pools: Pool[]): Promise<Node> {
  const nodeId = asked ?? pools.map(nodeOfPool).find((node) => node !== null);
  return nodeId === undefined ? anyOnlineNode(manager) : workingNode(manager, nodeId);
}

/** For work in all of `pools`: the node whose directories most of them are; else any that is online. */
export async function nodeForAll(manager: EntityManager, pools: readonly Pool[]): Promise<Node> {
  const counts = new Map<string, number>();
  for (const bound of pools.map(nodeOfPool)) if (bound !== null) counts.set(bound, (counts.get(bound) ?? 0) + 1);
  const ids = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([id]) => id);
  for (const id of ids) {
    const node = await findNode(manager, id);
    if (takesWork(node)) return node;
  }
  return ids[0] === undefined ? anyOnlineNode(manager) : workingNode(manager, ids[0]);
}
