/** An instance goes, and with it what was written, unless that is saved first. */
import { newId } from '@openservice/domain';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import type { DeleteInstance } from '../routes/schemas/cdm-instances.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { forgetInstance } from './forget-instance.ts';
import { distinctClaims, instanceClaim, lockInstance, mustBeWritable, onlyBlock } from './instance-rows.ts';
import { noteResultBlock, planSave, poolsAreThere } from './instance-save-plan.ts';

export async function unloadInstance(deps: AppDeps, id: string, query: DeleteInstance, caller: Caller): Promise<Answer> {
  if (query.force) return forgetInstance(deps, id, caller);
  const answer = await decide(deps.database, async (manager) => {
    const locked = await lockInstance(manager, id);
    const { instance, disks } = locked;
    if (query.save) mustBeWritable(instance, 'save');
    const jobId = newId('job');
    const plan = query.save ? await planSave(manager, locked, { poolId: query.pool_id }, jobId) : null;
    await submitJob(
      manager,
      {
        kind: 'unload',
        nodeId: instance.node_id,
        blockId: onlyBlock(disks),
        setId: instance.set_id,
        params: { instance_id: id, save: plan === null ? null : plan.save },
        claims: distinctClaims([instanceClaim(id), ...(plan?.claims ?? [])]),
        bytesTotal: plan?.bytesTotal ?? 0,
        priority: query.priority,
        tokenId: caller.tokenId,
        traceparent: caller.traceparent,
      },
      { jobId },
    );
    await manager.query("UPDATE cdm_instances SET state = 'removing' WHERE id = ?", [id]);
    if (plan !== null) {
      await noteResultBlock(manager, jobId, plan);
      await poolsAreThere(manager, plan);
    }
    return {
      status: 202,
      body: { 'ins-id': id, 'job-id': jobId, 'block-ids': plan?.blockIds ?? [] },
      location: jobLocation(jobId),
    };
  });
  deps.relay.poke();
  return answer;
}
