/** A block comes back: into a pool, or as a plain file within the node's import roots. */
import type { JobContext, JobHandler } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { JobParams, JobResult } from '@openservice/protocol';
import { discardFileTarget, openFileTarget } from '@openservice/transfer';
import { blockOf, copyToPool, dropCopy, openReplica } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';
import { readJournalState, sentBefore } from './journal-state.ts';
import { replicate } from './replicate.ts';

type Params = JobParams['restore'];

export function restoreHandler(deps: JobDeps): JobHandler<'restore'> {
  return {
    kind: 'restore',
    concurrency: 2,
    run(context) {
      const { target } = context.params;
      return target.type === 'pool' ? copyToPool(deps, context, target.pool_id) : restoreToFile(deps, context, target.path);
    },
    async cleanUp(context) {
      const { target } = context.params;
      if (target.type === 'pool') return dropCopy(deps, context, target.pool_id);
      const path = await ownTarget(deps, target.path);
      if (path !== null) await discardFileTarget(path, context.jobId);
    },
  };
}

async function restoreToFile(deps: JobDeps, context: JobContext<Params>, path: string): Promise<JobResult> {
  const { params, signal } = context;
  const block = blockOf(params.block);
  const target = await openFileTarget({
    path: await deps.importRoots.resolveOwnTarget(path),
    size: block.size,
    chunkSize: block.chunkSize,
    jobId: context.jobId,
    resume: readJournalState(context.lastCheckpoint).file,
    workers: deps.workers,
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
    expectedRoot: Buffer.from(params.block.root_digest, 'hex'),
    openSource: () => openReplica(deps, params.from_pool_id, params.block, signal),
    state: () => ({ file: target.state }),
  });
}

/** The file was linked to its name by a run that died before it could say so: leave to commit had been granted then. */
async function restoredBefore(context: JobContext<Params>): Promise<JobResult> {
  const { size, root_digest } = context.params.block;
  const sent = sentBefore(readJournalState(context.lastCheckpoint), context.attempt, 0);
  const progress = { bytes_total: size, bytes_done: size, bytes_sent: sent, bytes_skipped: 0, rate: 0, eta_ms: 0 };
  const result: JobResult = { root_digest, size, replicas: [], verified: false, progress, damage: [] };
  await context.requestCommit(result);
  return result;
}

/** Null where the directory is gone or no longer allowed: then nothing is left there to remove. */
async function ownTarget(deps: JobDeps, path: string): Promise<string | null> {
  try {
    return await deps.importRoots.resolveOwnTarget(path);
  } catch (error) {
    if (error instanceof PermanentError) return null;
    throw error;
  }
}
