/** Work on a pool as a whole, each as a job. */
import { newId } from '@openservice/domain';
import type { EntityManager, Pool } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { submitJob } from '../jobs/submit-job.ts';
import { type Answer, decide, jobLocation } from './answers.ts';
import type { Caller } from './caller.ts';
import type { ClaimRequest, JobRequest } from './job-request.ts';
import { usablePool } from './lookups.ts';
import { anyOnlineNode, nodeOfPool, workingNode } from './placement.ts';

type Work = Pick<Extract<JobRequest, { kind: 'gc' | 'pool_verify' | 'rebuild' }>, 'claims' | 'bytesTotal'> &
  (
    | Pick<Extract<JobRequest, { kind: 'gc' }>, 'kind' | 'params'>
    | Pick<Extract<JobRequest, { kind: 'pool_verify' }>, 'kind' | 'params'>
    | Pick<Extract<JobRequest, { kind: 'rebuild' }>, 'kind' | 'params'>
  );

const shared = (id: string): ClaimRequest => ({ resource: `pool:${id}`, mode: 'shared' });

/** Beside everything but another collection of the pool, and a rebuild. */
export function collectPool(deps: AppDeps, id: string, priority: number | undefined, caller: Caller): Promise<Answer> {
  return start(deps, id, priority, caller, (pool) => ({
    kind: 'gc',
    params: { pool_id: id },
    claims: [shared(id), { resource: `pool-gc:${id}`, mode: 'exclusive' }],
    bytesTotal: pool.stored_bytes,
  }));
}

/** Beside everything but a rebuild. `sample`: the part of the chunks that is read. */
export function verifyPool(
  deps: AppDeps,
  id: string,
  { sample, priority }: { sample: number; priority?: number | undefined },
  caller: Caller,
): Promise<Answer> {
  return start(deps, id, priority, caller, (pool) => ({
    kind: 'pool_verify',
    params: { pool_id: id, sample },
    claims: [shared(id)],
    bytesTotal: Math.ceil(pool.logical_bytes * sample),
  }));
}

/** Has the pool to itself: a block that another job deletes while it is listed would get its rows back. */
export function rebuildPool(deps: AppDeps, id: string, priority: number | undefined, caller: Caller): Promise<Answer> {
  return start(deps, id, priority, caller, () => ({
    kind: 'rebuild',
    params: { pool_id: id },
    claims: [{ resource: `pool:${id}`, mode: 'exclusive' }],
    bytesTotal: 0,
  }));
}

async function start(
  deps: AppDeps,
  id: string,
  priority: number | undefined,
  caller: Caller,
  workOn: (pool: Pool) => Work,
): Promise<Answer> {
  const answer = await decide(deps.database, async (manager) => {
    const pool = await usablePool(manager, id);
    const jobId = newId('job');
    const request = {
      ...workOn(pool),
      nodeId: await nodeFor(manager, pool),
      blockId: null,
      setId: null,
      priority,
      tokenId: caller.tokenId,
      traceparent: caller.traceparent,
    };
    await submitJob(manager, request, { jobId });
    await usablePool(manager, id); // under the lock that the claim took: it may have been deleted meanwhile
    return { status: 202, body: { 'pool-id': id, 'job-id': jobId }, location: jobLocation(jobId) };
  });
  deps.relay.poke();
  return answer;
}

async function nodeFor(manager: EntityManager, pool: Pool): Promise<string> {
  const bound = nodeOfPool(pool);
  return (bound === null ? await anyOnlineNode(manager) : await workingNode(manager, bound)).id;
}
