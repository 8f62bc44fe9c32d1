/** A replica goes to another pool: copied, read back, recorded, and only then removed where it was. */
import type { Block, EntityManager } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import type { MoveBlock } from '../routes/schemas/blocks.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { refuseBlockInUse } from './instance-use.ts';
import { findBlock, mustBeAvailable, usablePool } from './lookups.ts';
import { readable } from './read-from.ts';
import { invalidRequest, Refusal } from './refusal.ts';
import { routeInto, submitReplica } from './replicate.ts';

export async function moveBlock(deps: AppDeps, id: string, body: MoveBlock, caller: Caller): Promise<Answer> {
  if (body.from_pool_id === body.pool_id)
    throw invalidRequest([{ path: 'from_pool_id', message: 'is the pool that it is to go to; choose another' }]);
  const answer = await decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    mustBeAvailable(block);
    await refuseBlockInUse(manager, id);
    const target = await usablePool(manager, body.pool_id);
    const from = body.from_pool_id ?? (await onlyReplica(manager, block));
    if (from === target.id)
      throw new Refusal('replica_exists', `Block ${id} is in pool ${target.id} already; there is nothing to move.`);
    const route = await routeInto(manager, block, target, from);
    const jobId = await submitReplica(
      manager,
      'move',
      { block, target, route, bandwidth: body.bandwidth, priority: body.priority },
      caller,
    );
    return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

async function onlyReplica(manager: EntityManager, block: Block): Promise<string> {
  const pools = await readable(manager, block, undefined);
  const [only] = pools;
  if (only !== undefined && pools.length === 1) return only.id;
  const choice = pools.map((pool) => pool.id).join(', ');
  throw invalidRequest([
    { path: 'from_pool_id', message: `is required: the block has ${pools.length} replicas; say which goes: ${choice}` },
  ]);
}
