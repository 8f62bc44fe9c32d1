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

/** `asked` where it is given, else a node that has `pools` at hand. */
export function chooseNode(manager: EntityManager, asked: string | undefined, pools: readonly Pool[]): Promise<Node> {
  return asked === undefined ? nodeForAll(manager, pools) : workingNode(manager, asked);
}

/**
 * For work in all of `pools`, or in whichever of them: of the nodes whose directories they are one that takes work, rather one that is there,
 * rather one that has more of them; where there is none, any that is online. Refused where all those nodes take no work and nothing lies elsewhere.
 */
export async function nodeForAll(manager: EntityManager, pools: readonly Pool[]): Promise<Node> {
  const bound = pools.map(nodeOfPool).filter((node) => node !== null);
  const nodes = await Promise.all([...new Set(bound)].toSorted().map((id) => findNode(manager, id)));
  const rank = (node: Node): number => (node.state === 'online' ? 1000 : 0) + bound.filter((id) => id === node.id).length;
  const [best] = nodes.filter(takesWork).sort((a, b) => rank(b) - rank(a));
  if (best !== undefined) return best;
  const [drains] = nodes;
  return drains === undefined || bound.length < pools.length ? anyOnlineNode(manager) : workingNode(manager, drains.id);
}
