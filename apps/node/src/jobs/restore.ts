/** A block comes back: into a pool, as a file or onto a device within the node's import roots, or to an NBD server. */
import type { JobContext, JobHandler } from '@openservice/agent';
import type { JobParams, JobResult } from '@openservice/protocol';
import { discardTarget, openTarget } from '../targets/open-target.ts';
import { blockOf, copyToPool, dropCopy, openReplica } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';
import { readJournalState, sentBefore } from './journal-state.ts';
import { replicate } from './replicate.ts';

type Params = JobParams['restore'];
type Target = Exclude<Params['target'], { type: 'pool' }>;

export function restoreHandler(deps: JobDeps): JobHandler<'restore'> {
  return {
    kind: 'restore',
    concurrency: 2,
    run(context) {
      const { target } = context.params;
      return target.type === 'pool' ? copyToPool(deps, context, target.pool_id) : restoreTo(deps, context, target);
    },
    async cleanUp(context) {
      const { target } = context.params;
      if (target.type === 'pool') return dropCopy(deps, context, target.pool_id);
      await discardTarget(deps, target, { jobId: context.jobId });
    },
  };
}

async function restoreTo(deps: JobDeps, context: JobContext<Params>, to: Target): Promise<JobResult> {
  const { params, jobId, signal } = context;
  const block = blockOf(params.block);
  const target = await openTarget(deps, to, {
    size: block.size,
    chunkSize: block.chunkSize,
    jobId,
    resume: readJournalState(context.lastCheckpoint).target,
    delta: params.delta,
    signal,
  });
  if (target.committed) {
    await target.close();
    return restoredBefore(context);
  }
  return replicate({
    context,
    writer: target,
    block,
    poolId: null,
    limits: deps.limits.of([params.from_pool_id]),
    expectedRoot: Buffer.from(params.block.root_digest, 'hex'),
    openSource: () => openReplica(deps, params.from_pool_id, params.block, signal),
    state: () => ({ target: target.state }),
  });
}

/** The target was finished by a run that died before it could say so: leave to commit had been granted then. */
async function restoredBefore(context: JobContext<Params>): Promise<JobResult> {
  const { size, root_digest } = context.params.block;
  const sent = sentBefore(readJournalState(context.lastCheckpoint), context.attempt, 0);
  const progress = { bytes_total: size, bytes_done: size, bytes_sent: sent, bytes_skipped: 0, rate: 0, eta_ms: 0 };
  const result: JobResult = { root_digest, size, replicas: [], verified: false, progress, damage: [] };
  await context.requestCommit(result);
  return result;
}
