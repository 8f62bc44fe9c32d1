/** What the disks of an instance hold becomes new blocks; the instance goes on. Only what was written is read. */
import { newId } from '@openservice/domain';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { SaveInstance } from '../routes/schemas/cdm-instances.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { distinctClaims, instanceClaim, lockInstance, mustBeLoaded, mustBeWritable, onlyBlock } from './instance-rows.ts';
import { noteResultBlock, planSave, poolsAreThere } from './instance-save-plan.ts';
import { limited } from './replicate.ts';

export async function saveInstance(deps: AppDeps, id: string, body: SaveInstance, caller: Caller): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const locked = await lockInstance(manager, id);
    const { instance, disks } = locked;
    mustBeWritable(instance, 'save');
    mustBeLoaded(instance);
    const jobId = newId('job');
    const plan = await planSave(manager, locked, { poolId: body.pool_id, name: body.name, setId: body.set_id }, jobId);
    await submitJob(
      manager,
      {
        kind: 'save',
        nodeId: instance.node_id,
        blockId: onlyBlock(disks),
        setId: instance.set_id,
        params: { ...limited(body.bandwidth), instance_id: id, save: plan.save },
        claims: distinctClaims([instanceClaim(id), ...plan.claims]),
        bytesTotal: plan.bytesTotal,
        priority: body.priority,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    await noteResultBlock(manager, jobId, plan);
    await poolsAreThere(manager, plan);
    return {
      status: 202,
      body: { 'ins-id': id, 'job-id': jobId, 'block-ids': plan.blockIds },
      location: jobLocation(jobId),
    };
  });
  deps.relay.poke();
  return answer;
}
