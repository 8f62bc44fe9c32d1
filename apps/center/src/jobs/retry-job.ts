/** A job that failed or was cancelled is tried again, as a new job: terminal states stay as they are. */
import { newId, PermanentError } from '@openservice/domain';
import type { EntityManager, Job } from '@openservice/store';
import type { JobRequest } from '../services/job-request.ts';
import { KINDS } from './apply/all.ts';
import { isDraining, nodeForNext } from './move-away.ts';
import { submitJob } from './submit-job.ts';
import { lockJob } from './transition.ts';

/**
 * Starts a new job with the parameters and claims of `jobId`, after looking again at the state of its block and replicas.
 * It goes to another node where its own is gone or takes no new work. PermanentError `job_not_found`, `node_draining`, or `job_not_retryable` with
 * what stands in the way; ClaimConflictError as submitJob.
 */
export async function retryJob(manager: EntityManager, jobId: string, tokenId: string | null = null): Promise<{ jobId: string }> {
  const job = await lockJob(manager, jobId);
  if (job === null) throw new PermanentError('job_not_found', `There is no job ${jobId}.`);
  if (job.state !== 'failed' && job.state !== 'cancelled') {
    throw new PermanentError('job_not_retryable', `Job ${jobId} is ${job.state}; only a failed or cancelled job can be retried.`);
  }
  const next = newId('job');
  const request = {
    kind: job.kind,
    nodeId: await nodeFor(manager, job),
    blockId: job.block_id,
    setId: job.set_id,
    params: job.params,
    claims: job.claims,
    bytesTotal: job.bytes_total,
    tokenId,
    traceparent: job.traceparent,
    priority: job.priority,
  } as unknown as JobRequest;
  await submitJob(manager, request, { jobId: next });
  const refused = await KINDS[job.kind].again(manager, job, next);
  if (refused !== null) throw new PermanentError('job_not_retryable', `Job ${jobId} cannot be retried: ${refused}`);
  return { jobId: next };
}

async function nodeFor(manager: EntityManager, job: Job): Promise<string> {
  const nodeId = await nodeForNext(manager, job);
  if (!(await isDraining(manager, nodeId))) return nodeId;
  throw new PermanentError(
    'node_draining',
    `Only node ${nodeId} can do the work of job ${job.id}, and it takes no new jobs; activate it with POST /openstore_v1/nodes/${nodeId}?action=activate.`,
  );
}
