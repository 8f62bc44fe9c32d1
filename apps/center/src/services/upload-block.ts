/** A further replica of the same block in another pool. */
import type { AppDeps } from '../http/deps.ts';
import type { UploadBlock } from '../routes/schemas/blocks.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { findBlock, mustBeAvailable, usablePool } from './lookups.ts';
import { routeInto, submitReplica } from './replicate.ts';

export async function uploadBlock(deps: AppDeps, id: string, body: UploadBlock, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const block = await findBlock(manager, id, { lock: true });
    mustBeAvailable(block);
    const target = await usablePool(manager, body.pool_id);
    const route = await routeInto(manager, block, target, body.from_pool_id);
    const jobId = await submitReplica(
      manager,
      'upload',
      { block, target, route, bandwidth: body.bandwidth, priority: body.priority },
      caller,
    );
    return { status: 202, body: { 'block-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}
