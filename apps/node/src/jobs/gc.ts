/** A pool frees what nothing in it refers to any more. */
import type { JobContext, JobHandler } from '@openservice/agent';
import type { CollectReport } from '@openservice/pools';
import type { JobResult } from '@openservice/protocol';
import type { JobDeps } from './deps.ts';
import { damageOf, notesOf, plainResult } from './results.ts';

const LEASE_LOOK_MS = 1000;

export function gcHandler(deps: JobDeps): JobHandler<'gc'> {
  return {
    kind: 'gc',
    concurrency: 1,
    async run(context) {
      const { pool_id } = context.params;
      const pool = await deps.pools.get(pool_id, context.signal);
      // No leave to commit is asked: a collection is safe to repeat and to stop anywhere, and can so be cancelled to its end.
      await context.awaitLease();
      const report = await whileLeased(context, (signal) =>
        pool.collect({ jobId: context.jobId, onProgress: (done, total) => context.progress(objects(done, total)) }, signal),
      );
      return resultOf(pool_id, report);
    },
    async cleanUp() {
      // What a collection leaves is garbage for the next one.
    },
  };
}

/** Runs `work` with a signal that fires, too, when the node is past its lease. FencedError then, and when it has none at the start. */
async function whileLeased<T>(context: JobContext<unknown>, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  context.assertLease();
  const lost = new AbortController();
  const timer = setInterval(() => {
    try {
      context.assertLease();
    } catch (error) {
      lost.abort(error);
    }
  }, LEASE_LOOK_MS);
  try {
    return await work(AbortSignal.any([context.signal, lost.signal]));
  } catch (error) {
    if (lost.signal.aborted) throw lost.signal.reason;
    throw error;
  } finally {
    clearInterval(timer);
  }
}

/** Objects looked at stand for bytes: what a collection does has no other measure. */
function objects(done: number, total: number) {
  return { bytes_total: Math.max(done, total), bytes_done: done, bytes_sent: 0, bytes_skipped: 0, rate: 0, eta_ms: null };
}

function resultOf(poolId: string, report: CollectReport): JobResult {
  const { waitingFor, damaged } = report;
  const notes = [];
  if (damaged.length > 0) {
    notes.push(
      `Nothing was removed: ${damaged.length} blocks cannot be read to know what they need. Repair or delete them first.`,
    );
  }
  if (report.keptObjects > 0) {
    notes.push(`${report.keptObjects} objects wait for the next collection: sessions that write did not answer in time.`);
  }
  notes.push(...waitingFor.map((session) => `Waited for ${session}.`));
  return plainResult({
    damage: damageOf(damaged.map(({ blockId, message }) => ({ pool_id: poolId, block_id: blockId, message }))),
    summary: {
      freed_bytes: report.freedBytes,
      removed_objects: report.removedObjects,
      live_bytes: report.liveBytes,
      kept_objects: report.keptObjects,
      damaged_blocks: damaged.length,
    },
    ...notesOf(notes),
  });
}
