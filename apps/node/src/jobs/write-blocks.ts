/**
 * Several blocks are written by one job and become visible together: all are prepared, leave to commit is asked once, then each is committed.
 * After a crash the same attempt runs all of it again: what was prepared is found so, what was committed too.
 */
import type { JobContext } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { BlockWriter, ChunkSource, Prepared } from '@openservice/pools';
import type { BlockMeta, JobResult } from '@openservice/protocol';
import { type TransferCounters, transfer } from '@openservice/transfer';
import { z } from 'zod';
import type { JobDeps } from './deps.ts';
import { sessionOf } from './pool-target.ts';
import { ProgressMeter } from './progress-meter.ts';
import { bandwidthOf, JOB_WINDOW } from './replicate.ts';

export interface BlockPlan {
  block: { id: string; size: number; chunkSize: number };
  poolId: string;
  meta?: BlockMeta | undefined;
  /** Null: it turns out with the copy. */
  expectedRoot: Buffer | null;
  /** Called where something is left to copy; closed here. */
  openSource: (signal: AbortSignal) => Promise<ChunkSource>;
}

export interface WriteBlocksOptions {
  context: JobContext<object>;
  plans: readonly BlockPlan[];
  /** What the sources hold is of this run alone: what an earlier run left half done is dropped, and not gone on with. */
  fresh: boolean;
}

const state = z.object({
  /** Hex roots of blocks that are prepared, by id. */
  prepared: z.record(z.string(), z.string()).default({}),
  /** A run has begun to copy. */
  begun: z.boolean().default(false),
});

/** Blocks that another job committed in their pools before, with the expected root, are taken as they are. */
export async function writeBlocks(deps: JobDeps, { context, plans, fresh }: WriteBlocksOptions): Promise<JobResult> {
  const writers: BlockWriter[] = [];
  try {
    const before = state.safeParse(context.lastCheckpoint).data ?? { prepared: {}, begun: false };
    // Blocks of one moment must not mix with blocks of another.
    const goesOn = !fresh || plans.every((plan) => before.prepared[plan.block.id] !== undefined);
    const drop = fresh && before.begun && !goesOn;
    const known = goesOn ? before.prepared : {};
    await context.checkpoint({ prepared: known, begun: true });
    const progress = new Progress(context, plans);
    const done: Prepared[] = [];
    for (const plan of plans) {
      const writer = await openWriter(deps, context, plan, drop);
      if (writer !== null) writers.push(writer);
      const prepared = await prepare(deps, context, plan, writer, known[plan.block.id], progress);
      done.push(prepared);
      known[plan.block.id] = prepared.rootDigest.toString('hex');
      await context.checkpoint({ prepared: known, begun: true });
    }
    const result = resultOf(plans, done, progress);
    await context.preparing();
    await context.requestCommit(result);
    for (const writer of writers) {
      context.assertLease();
      await writer.commit(context.signal);
    }
    return result;
  } finally {
    await Promise.allSettled(writers.map((writer) => writer.close()));
  }
}

/** Null: the pool holds it committed, by another job, as it is expected to be. */
async function openWriter(
  deps: JobDeps,
  context: JobContext<object>,
  plan: BlockPlan,
  drop: boolean,
): Promise<BlockWriter | null> {
  const { signal } = context;
  const pool = await deps.pools.get(plan.poolId, signal);
  const session = sessionOf({ ...context, params: { meta: plan.meta } }, plan.block);
  try {
    const writer = await pool.openWriter(session, signal);
    if (!drop) return writer;
    await writer.abort(signal);
    await writer.close();
    return await pool.openWriter(session, signal);
  } catch (error) {
    const exists = error instanceof PermanentError && error.code === 'block_exists';
    const there = exists && plan.expectedRoot !== null ? await pool.stat(plan.block.id, signal) : null;
    if (there?.rootDigest.equals(plan.expectedRoot!) === true) return null;
    throw error;
  }
}

async function prepare(
  deps: JobDeps,
  context: JobContext<object>,
  plan: BlockPlan,
  writer: BlockWriter | null,
  known: string | undefined,
  progress: Progress,
): Promise<Prepared> {
  const { signal } = context;
  if (writer === null) {
    progress.skip(plan);
    return (await (await deps.pools.get(plan.poolId, signal)).stat(plan.block.id, signal))!;
  }
  if (known !== undefined) {
    const prepared = await writer.prepare(signal);
    if (prepared.rootDigest.toString('hex') === known) {
      progress.skip(plan);
      return prepared;
    }
  }
  const source = await plan.openSource(signal);
  try {
    const { counters, ...prepared } = await transfer({
      source,
      writer,
      signal,
      window: JOB_WINDOW,
      bandwidth: bandwidthOf(context.params),
      onProgress: (now) => progress.show(now),
    });
    progress.end(counters);
    if (plan.expectedRoot !== null && !plan.expectedRoot.equals(prepared.rootDigest)) {
      await writer.abort(signal);
      throw new PermanentError(
        'digest_mismatch',
        `The copy of ${plan.block.id} came out with another digest than its source has; it was dropped. Verify the source replica.`,
      );
    }
    return prepared;
  } finally {
    await source.close();
  }
}

function resultOf(plans: readonly BlockPlan[], done: readonly Prepared[], progress: Progress): JobResult {
  return {
    root_digest: null,
    size: null,
    replicas: plans.map((plan, i) => ({
      block_id: plan.block.id,
      pool_id: plan.poolId,
      state: 'available',
      stored_bytes: done[i]!.storedBytes,
    })),
    blocks: plans.map(({ block }, i) => ({ id: block.id, size: block.size, root_digest: done[i]!.rootDigest.toString('hex') })),
    verified: false,
    progress: progress.last,
    damage: [],
  };
}

/** Of all blocks together. */
class Progress {
  readonly #context: JobContext<object>;
  readonly #meter = new ProgressMeter(0);
  readonly #whole: TransferCounters;

  constructor(context: JobContext<object>, plans: readonly BlockPlan[]) {
    this.#context = context;
    const bytesTotal = plans.reduce((sum, { block }) => sum + block.size, 0);
    this.#whole = { bytesTotal, bytesDone: 0, bytesSent: 0, bytesSkipped: 0 };
  }

  get last(): ReturnType<ProgressMeter['read']> {
    return this.#meter.read(this.#whole);
  }

  show(now: TransferCounters): void {
    const { bytesTotal, bytesDone, bytesSent, bytesSkipped } = this.#whole;
    this.#context.progress(
      this.#meter.read({
        bytesTotal,
        bytesDone: bytesDone + now.bytesDone,
        bytesSent: bytesSent + now.bytesSent,
        bytesSkipped: bytesSkipped + now.bytesSkipped,
      }),
    );
  }

  end(counters: TransferCounters): void {
    this.#whole.bytesDone += counters.bytesDone;
    this.#whole.bytesSent += counters.bytesSent;
    this.#whole.bytesSkipped += counters.bytesSkipped;
    this.#context.progress(this.last);
  }

  skip({ block }: BlockPlan): void {
    this.end({ bytesTotal: block.size, bytesDone: block.size, bytesSent: 0, bytesSkipped: block.size });
  }
}
