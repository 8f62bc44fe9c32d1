/**
 * A replica goes from one pool to another:
 *   copy → leave to commit → commit in the target → read back in full → the center records → the source is removed → result.
 * Whoever dies on the way, and whichever attempt goes on: the source is there until the center has recorded a target that was read back.
 * A rerun finds the committed target, reads it back again unless that is journalled, and repeats the rest, which may all be repeated.
 */
import type { JobContext, JobHandler } from '@openservice/agent';
import { asOpenServiceError, FencedError, PermanentError } from '@openservice/domain';
import type { Pool } from '@openservice/pools';
import type { JobParams, JobResult } from '@openservice/protocol';
import type { TransferCounters } from '@openservice/transfer';
import { copyToPool, dropCopy } from './copy-to-pool.ts';
import type { JobDeps } from './deps.ts';
import { readJournalState } from './journal-state.ts';
import { ProgressMeter } from './progress-meter.ts';
import { checkReplica } from './replica-check.ts';
import { bandwidthOf } from './replicate.ts';

type Params = JobParams['move'];

export function moveHandler(deps: JobDeps): JobHandler<'move'> {
  return {
    kind: 'move',
    concurrency: 1,
    async run(context) {
      const { block, from_pool_id, pool_id } = context.params;
      if (from_pool_id === pool_id) {
        throw new PermanentError('same_pool', `Block ${block.id} is in pool ${pool_id} already; move it to another pool.`);
      }
      const copied = await copyToPool(deps, context, pool_id);
      if (!readJournalState(context.lastCheckpoint).read_back) await readBack(deps, context, copied);
      const removed = { pool_id: from_pool_id, state: 'removed', stored_bytes: 0 } as const;
      const result: JobResult = { ...copied, replicas: [...copied.replicas, removed], verified: true };
      await record(deps, context, result);
      await removeFrom(deps, context, from_pool_id);
      return result;
    },
    // A target that is committed stays: the center may have recorded it, and the source be gone.
    cleanUp: (context) => dropCopy(deps, context, context.params.pool_id),
  };
}

/** Journals that the target is good. One that is not is removed, and the job fails with `damaged_chunk`; the source stays. */
async function readBack(deps: JobDeps, context: JobContext<Params>, copied: JobResult): Promise<void> {
  const { block, pool_id } = context.params;
  const { signal } = context;
  const pool = await deps.pools.get(pool_id, signal);
  const why = await whyUnreadable(deps, context, pool, copied);
  if (why !== null) {
    await removeFrom(deps, context, pool_id);
    throw new PermanentError(
      'damaged_chunk',
      `The copy of ${block.id} in pool ${pool_id} could not be read back: ${why} It was removed and the source kept; check the target's disk or store.`,
    );
  }
  await context.checkpoint({
    attempt: context.attempt,
    bytes_sent: copied.progress?.bytes_sent ?? 0,
    prepared: block.root_digest,
    read_back: true,
  });
}

/**
 * A sentence, or null: every byte is there. What may pass (a store that is away) is thrown. The bytes that are told stay those of the copy,
 * all of them; `rate` and `eta_ms` are those of the reading.
 */
async function whyUnreadable(deps: JobDeps, context: JobContext<Params>, pool: Pool, copied: JobResult): Promise<string | null> {
  const { params, signal } = context;
  const meter = new ProgressMeter(0);
  const onProgress = (counters: TransferCounters): void => {
    const { rate, eta_ms, ...read } = meter.read(counters);
    const { bytes_total, bytes_sent, bytes_skipped } = copied.progress ?? read;
    context.progress({ bytes_total, bytes_done: bytes_total, bytes_sent, bytes_skipped, rate, eta_ms });
  };
  try {
    const bandwidth = bandwidthOf(params);
    const limits = deps.limits.of([params.pool_id]);
    const damage = await checkReplica({ pool, block: params.block, sample: 1, bandwidth, limits, signal, onProgress });
    return damage[0] ?? null;
  } catch (error) {
    const { outcome, message } = asOpenServiceError(error);
    if (signal.aborted || outcome !== 'permanent') throw error;
    return message;
  }
}

async function record(deps: JobDeps, context: JobContext<Params>, result: JobResult): Promise<void> {
  const { jobId, attempt, fence, signal } = context;
  context.assertLease();
  const { recorded, reason } = await deps.center.record({ job_id: jobId, attempt, fence, result }, signal);
  if (!recorded) throw new FencedError(`The center did not record the move: ${reason}`);
}

async function removeFrom(deps: JobDeps, context: JobContext<Params>, poolId: string): Promise<void> {
  const pool = await deps.pools.get(poolId, context.signal);
  context.assertLease();
  await pool.remove(context.params.block.id, context.fence, context.signal);
}
