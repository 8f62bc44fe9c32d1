/**
 * Several blocks are written by one job and become visible together: all are prepared, leave to commit is asked once, then each is committed.
 * After a crash the same attempt runs all of it again: what was prepared is found so, what was committed too.
 */
import type { JobContext } from '@openservice/agent';
import { chunkCount, PermanentError, TransientError } from '@openservice/domain';
import type { BlockWriter, ChunkSource, Prepared } from '@openservice/pools';
import type { BlockMeta, JobResult } from '@openservice/protocol';
import { type TransferCounters, transfer } from '@openservice/transfer';
import { z } from 'zod';
import type { JobDeps } from './deps.ts';
import { sessionOf } from './pool-target.ts';
import { ProgressMeter } from './progress-meter.ts';
import { bandwidthOf, windowFor } from './replicate.ts';

export interface BlockPlan {
  block: { id: string; size: number; chunkSize: number };
  poolId: string;
  /** Read for it. */
  fromPoolId: string;
  meta?: BlockMeta | undefined;
  /** Null: it turns out with the copy. */
  expectedRoot: Buffer | null;
  /** Called where something is left to copy; closed here. */
  openSource: (signal: AbortSignal) => Promise<ChunkSource>;
}

export interface WriteBlocksOptions {
  context: JobContext<object>;
  plans: readonly BlockPlan[];
  /** Null: the sources never change. */
  moment: Moment | null;
}

/** When the sources hold what they hold. What was left half done of another moment is dropped: blocks of two must not be mixed. */
export interface Moment {
  of: string;
  /** Blocks that are all prepared may be of an earlier moment. */
  earlier: boolean;
}

const state = z.object({
  /** Hex roots of blocks that are prepared, by id. */
  prepared: z.record(z.string(), z.string()).default({}),
  moment: z.string().nullable().default(null),
  /** Blocks that a run has begun to write, by id; before the first of it is written. */
  begun: z.record(z.string(), z.object({ size: z.number(), chunk_size: z.number() })).default({}),
});
type State = z.infer<typeof state>;

/** Blocks of which something may lie in their pools, by id. `last`: of the job's context. */
export function begunBlocks(last: unknown): State['begun'] {
  return state.safeParse(last).data?.begun ?? {};
}

/** Blocks that another job committed in their pools before, with the expected root, are taken as they are. */
export async function writeBlocks(deps: JobDeps, { context, plans, moment }: WriteBlocksOptions): Promise<JobResult> {
  const writers: BlockWriter[] = [];
  try {
    const before = state.parse(state.safeParse(context.lastCheckpoint).data ?? {});
    const isSame = moment === null || before.moment === moment.of;
    const isWhole = moment?.earlier === true && plans.every(({ block }) => before.prepared[block.id] !== undefined);
    const goesOn = isSame || isWhole;
    const now: State = {
      prepared: goesOn ? before.prepared : {},
      moment: isWhole ? before.moment : (moment?.of ?? null),
      begun: Object.fromEntries(plans.map(({ block }) => [block.id, { size: block.size, chunk_size: block.chunkSize }])),
    };
    await context.checkpoint(now);
    const progress = new Progress(context, plans);
    const done: Prepared[] = [];
    for (const plan of plans) {
      const writer = await openWriter(deps, context, plan, !goesOn && before.begun[plan.block.id] !== undefined);
      if (writer !== null) writers.push(writer);
      const known = now.prepared[plan.block.id];
      let prepared = writer === null ? await statOf(deps, context, plan) : await preparedBefore(context, plan, writer, known);
      if (prepared === null && isWhole && !isSame) {
        await context.checkpoint({ ...now, prepared: {}, moment: null });
        throw new TransientError(
          'prepared_lost',
          `Pool ${plan.poolId} lost what was prepared of ${plan.block.id}; all is done anew.`,
        );
      }
      if (prepared === null) prepared = await copy(deps, context, plan, writer!, progress, () => context.checkpoint(now));
      else progress.skip(plan);
      done.push(prepared);
      now.prepared[plan.block.id] = prepared.rootDigest.toString('hex');
      await context.checkpoint(now);
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

async function statOf(deps: JobDeps, { signal }: JobContext<object>, { poolId, block }: BlockPlan): Promise<Prepared> {
  const pool = await deps.pools.get(poolId, signal);
  const there = await pool.stat(block.id, signal);
  if (there === null) throw new TransientError('block_changed', `Block ${block.id} went from pool ${poolId} just now.`);
  return there;
}

/** Null: it is not, or no longer, all there under the root that is known of it. */
async function preparedBefore(
  { signal }: JobContext<object>,
  { block }: BlockPlan,
  writer: BlockWriter,
  known: string | undefined,
): Promise<Prepared | null> {
  if (known === undefined) return null;
  for (let index = chunkCount(block.size, block.chunkSize) - 1; index >= 0; index--) if (!writer.has(index)) return null;
  const prepared = await writer.prepare(signal);
  return prepared.rootDigest.toString('hex') === known ? prepared : null;
}

async function copy(
  deps: JobDeps,
  context: JobContext<object>,
  plan: BlockPlan,
  writer: BlockWriter,
  progress: Progress,
  save: () => Promise<void>,
): Promise<Prepared> {
  const { signal } = context;
  const source = await plan.openSource(signal);
  try {
    const { counters, ...prepared } = await transfer({
      source,
      writer,
      signal,
      window: windowFor(plan.block.chunkSize),
      bandwidth: bandwidthOf(context.params),
      limits: deps.limits.of([plan.fromPoolId, plan.poolId]),
      onProgress: (now) => progress.show(now),
      onCheckpoint: save,
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
