/** The block that an import goes on from, and where it is best read. */
import type { JobParams } from '@openservice/protocol';
import type { EntityManager } from '@openservice/store';
import { findBlock, mustBeAvailable } from './lookups.ts';
import { bestSource, blockRef, readable } from './read-from.ts';

export type Parent = NonNullable<JobParams['import']['parent']>;

export async function parentRef(
  manager: EntityManager,
  blockId: string | null,
  targetPoolId: string,
  nodeId: string,
): Promise<Parent | null> {
  if (blockId === null) return null;
  const block = await findBlock(manager, blockId, { lock: true });
  mustBeAvailable(block);
  const pools = await readable(manager, block, undefined);
  // What the target has itself is not read at all, only referred to.
  const pool = pools.find(({ id }) => id === targetPoolId) ?? (await bestSource(manager, block, pools, nodeId));
  return { block: blockRef(block), pool_id: pool.id };
}
