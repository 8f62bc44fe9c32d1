/** What was written to an instance is dropped: its disks are their blocks again. */
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import { instanceClaim, lockInstance, mustBeLoaded, mustBeWritable, onlyBlock } from './instance-rows.ts';

export async function rewindInstance(
  deps: AppDeps,
  id: string,
  body: { priority?: number | undefined },
  caller: Caller,
): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const { instance, disks } = await lockInstance(manager, id);
    mustBeWritable(instance, 'rewind');
    mustBeLoaded(instance);
    const { jobId } = await submitJob(manager, {
      kind: 'rewind',
      nodeId: instance.node_id,
      blockId: onlyBlock(disks),
      setId: instance.set_id,
      params: { instance_id: id },
      claims: [instanceClaim(id)],
      bytesTotal: 0,
      priority: body.priority,
      tokenId: caller.tokenId,
      traceparent: caller.traceparent,
    });
    return { status: 202, body: { 'ins-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}
