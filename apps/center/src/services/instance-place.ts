/** Which node serves an instance. Every node reaches every pool; near the data is better. */
import type { EntityManager, Node, Pool } from '@openservice/store';
import { findNode } from './lookups.ts';
import { anyOnlineNode, nodeOfPool, workingNode } from './placement.ts';

/**
 * `asked` where it is given; else the online node that has most of the disks in its own directories; else any that is online. `pools`: of each
 * disk, those that it can be read from. A disk that only a node has which is away binds the instance to that node, which loads it when it is back.
 */
export async function nodeToLoad(manager: EntityManager, asked: string | undefined, pools: readonly Pool[][]): Promise<Node> {
  if (asked !== undefined) return workingNode(manager, asked);
  const counts = new Map<string, number>();
  for (const bound of pools.flatMap((some) => [...new Set(some.map(nodeOfPool))])) {
    if (bound !== null) counts.set(bound, (counts.get(bound) ?? 0) + 1);
  }
  const nodes: Node[] = [];
  for (const [id] of [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))) nodes.push(await findNode(manager, id));
  const near = nodes.find((node) => node.state === 'online') ?? nodes.find((node) => isAway(node) && isBoundTo(node, pools));
  return near ?? anyOnlineNode(manager);
}

const isAway = (node: Node): boolean => node.state === 'suspect' || node.state === 'offline';

const isBoundTo = (node: Node, pools: readonly Pool[][]): boolean =>
  pools.some((some) => some.every((pool) => nodeOfPool(pool) === node.id));
