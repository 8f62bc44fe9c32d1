/** A job begins: its claims, its row, its first attempt, its history and its command, all in the caller's transaction. */
import { JOB_STATE_RULES, newId } from '@openservice/domain';
import { type EntityManager, Together, type Writer } from '@openservice/store';
import { DEFAULT_PRIORITY, type JobRequest } from '../services/job-request.ts';
import { commandRun, recordAttempt } from './attempts.ts';
import { takeClaims } from './claims.ts';
import { fromNow, NOW } from './clock.ts';
import { addHistory } from './transition.ts';

export interface SubmitOptions {
  /** Given where rows that name the job (replicas.job_id) were written before it. Default: a new one. */
  jobId?: string;
}

/**
 * Accepts `request`. ClaimConflictError when another job holds what it needs. After the commit call `relay.poke()`: the
 * command then leaves at once instead of at the relay's next look.
 */
export async function submitJob(
  manager: EntityManager,
  request: JobRequest,
  options: SubmitOptions = {},
): Promise<{ jobId: string }> {
  const jobId = options.jobId ?? newId('job');
  const priority = request.priority ?? DEFAULT_PRIORITY;
  await takeClaims(manager, jobId, request.claims);
  const fence = await recordAttempt(manager, jobId, 1, request.nodeId);
  const together = new Together();
  await together.query(
    `INSERT INTO jobs (id, kind, state, node_id, block_id, set_id, attempt, fence, params, claims, bytes_total, created_by,
       traceparent, priority, deadline_at, created_at)
     VALUES (?, ?, 'queued', ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ${fromNow(JOB_STATE_RULES.queued.deadlineMs ?? 0)}, ${NOW})`,
    [
      jobId,
      request.kind,
      request.nodeId,
      request.blockId,
      request.setId,
      fence,
      JSON.stringify(request.params),
      JSON.stringify(request.claims),
      request.bytesTotal,
      request.tokenId,
      request.traceparent,
      priority,
    ],
  );
  await addHistory(together, { id: jobId, attempt: 1 }, null, 'queued', null);
  await audit(together, request.tokenId, `job.${request.kind}`, jobId, { block_id: request.blockId, params: request.params });
  await commandRun(together, {
    id: jobId,
    kind: request.kind,
    attempt: 1,
    fence,
    params: { ...request.params },
    node_id: request.nodeId,
    traceparent: request.traceparent,
    priority,
  });
  await together.run(manager);
  return { jobId };
}

/** Who did what, for `GET /audit`. `detail` must hold no secret. */
export async function audit(
  manager: Writer,
  tokenId: string | null,
  action: string,
  resource: string,
  detail: object,
): Promise<void> {
  await manager.query(`INSERT INTO audit (at, token_id, action, resource, detail) VALUES (${NOW}, ?, ?, ?, ?)`, [
    tokenId,
    action,
    resource,
    JSON.stringify(detail),
  ]);
}
