/** A block comes back out of the trash; also one whose way there failed, where some pools have it in theirs already. */
import type { AppDeps } from '../http/deps.ts';
import { mayComeBack } from '../jobs/apply/undelete.ts';
import { submitJob } from '../jobs/submit-job.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { refuseHeld } from './delete-block.ts';
import { findBlock, replicasOf } from './lookups.ts';
import { nodeForAll } from './placement.ts';
import { blockRef, poolsOf } from './read-from.ts';
import { Refusal } from './refusal.ts';

/** For a pool that did not get as far as its trash this is no work. */
const BACK: ReadonlySet<string> = new Set(['trashed', 'available', 'damaged']);

export async function undeleteBlock(
  deps: AppDeps,
  id: string,
  body: { priority?: number | undefined },
  caller: Caller,
): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    await refuseHeld(manager, id);
    if (!mayComeBack(block)) {
      throw new Refusal('block_not_trashed', `Block ${id} is ${block.state}; only a block in the trash can be brought back.`);
    }
    const poolIds = (await replicasOf(manager, [id])).filter((one) => BACK.has(one.state)).map((one) => one.pool_id);
    const pools = await poolsOf(manager, poolIds);
    if (pools.length === 0) {
      throw new Refusal('no_reachable_replica', `No pool of block ${id} is there any more, so nothing can be brought back.`);
    }
    const node = await nodeForAll(manager, pools);
    const { jobId } = await submitJob(manager, {
      kind: 'undelete',
      nodeId: node.id,
      blockId: id,
      setId: block.set_id,
      params: { block: blockRef(block), pool_ids: pools.map((pool) => pool.id) },
      claims: [
        { resource: `block:${id}`, mode: 'exclusive' },
        ...pools.map((pool) => ({ resource: `pool:${pool.id}`, mode: 'shared' as const })),
      ],
      bytesTotal: block.size,
      priority: body.priority,
      tokenId: caller.tokenId,
      traceparent: caller.traceparent,
    });
    return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}
