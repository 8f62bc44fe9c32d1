/** Every block that a pool holds is read, whole or by sample. Goes on after a crash behind the last block that was done. */
import type { JobContext, JobHandler } from '@openservice/agent';
import type { PermanentError } from '@openservice/domain';
import type { BlockStat, Pool } from '@openservice/pools';
import type { JobParams, JobResult } from '@openservice/protocol';
import { z } from 'zod';
import type { JobDeps } from './deps.ts';
import { ProgressMeter } from './progress-meter.ts';
import { Repair } from './repair.ts';
import { type CheckOptions, checkReplica } from './replica-check.ts';
import { bandwidthOf } from './replicate.ts';
import { damageOf, MAX_DAMAGE, plainResult } from './results.ts';
import { withStopPoints } from './stop-points.ts';

/** ms between checkpoints while small blocks fly by. */
const CHECKPOINT_MS = 2000;

const stateSchema = z.object({
  /** The last block that was done; ids are gone through in their order. */
  last: z.string().default(''),
  blocks: z.number().default(0),
  damaged_blocks: z.number().default(0),
  damage: z.array(z.object({ block_id: z.string(), message: z.string() })).default([]),
});
type State = z.infer<typeof stateSchema>;

export function poolVerifyHandler(deps: JobDeps): JobHandler<'pool_verify'> {
  return {
    kind: 'pool_verify',
    concurrency: 1,
    async run(context) {
      const { pool_id, sample } = context.params;
      const pool = await deps.pools.get(pool_id, context.signal);
      const state = readState(context.lastCheckpoint);
      const progress = await readAll(deps, context, pool, state);
      return plainResult({
        verified: sample === 1 && state.damaged_blocks === 0,
        progress,
        damage: damageOf(state.damage.map((one) => ({ pool_id, ...one }))),
        summary: { blocks: state.blocks, damaged_blocks: state.damaged_blocks },
      });
    },
    async cleanUp() {
      // A verify leaves nothing half-made.
    },
  };
}

async function readAll(
  deps: JobDeps,
  context: JobContext<JobParams['pool_verify']>,
  pool: Pool,
  state: State,
): Promise<JobResult['progress']> {
  const { signal, params } = context;
  const meter = new ProgressMeter(0);
  const whole = { bytesTotal: await bytesOf(pool, signal), bytesDone: 0, bytesSent: 0, bytesSkipped: 0 };
  let savedAt = Number.NEGATIVE_INFINITY;
  // Not even a stat is had of it; it stands where its id does, between the others.
  const onDamaged = (blockId: string, { message }: PermanentError): void => {
    if (blockId <= state.last) return;
    note(state, blockId, [message]);
    state.last = blockId;
  };
  for await (const stat of pool.list(signal, { onDamaged })) {
    const before = { ...whole };
    if (stat.blockId > state.last) {
      const block = {
        id: stat.blockId,
        size: stat.size,
        chunk_size: stat.chunkSize,
        root_digest: stat.rootDigest.toString('hex'),
      };
      // Repairs from nowhere: damaged chunks are marked, so that no new block relies on them.
      const repair = new Repair({ deps, context, pool, block, from: [] });
      const options: CheckOptions = {
        pool,
        block,
        sample: params.sample,
        bandwidth: bandwidthOf(params),
        limits: deps.limits.of([params.pool_id]),
        signal,
        onProgress: (now) => {
          whole.bytesDone = before.bytesDone + now.bytesDone;
          whole.bytesSkipped = before.bytesSkipped + now.bytesSkipped;
          context.progress(meter.read(whole));
        },
        onDamage: (index, inner) => repair.mend(index, inner),
      };
      const damage = await withStopPoints(
        context,
        () => state,
        () => checkReplica(options),
      );
      // Deleted since the list was read: that is no damage.
      const there = damage.length === 0 || (await isThere(pool, stat, signal));
      if (there) note(state, stat.blockId, damage);
      state.last = stat.blockId;
    }
    whole.bytesDone = before.bytesDone + stat.size;
    whole.bytesTotal = Math.max(whole.bytesTotal, whole.bytesDone);
    if (performance.now() - savedAt < CHECKPOINT_MS) continue;
    savedAt = performance.now();
    await context.checkpoint(state);
  }
  whole.bytesTotal = whole.bytesDone;
  await context.checkpoint(state);
  return meter.read(whole);
}

/** One message a block, so that as many blocks as can be are named. */
function note(state: State, blockId: string, damage: readonly string[]): void {
  state.blocks += 1;
  const [first] = damage;
  if (first === undefined) return;
  state.damaged_blocks += 1;
  const more = damage.length === 1 ? '' : ` So are ${damage.length - 1} other places; verify the block to see them.`;
  if (state.damage.length < MAX_DAMAGE) state.damage.push({ block_id: blockId, message: first + more });
}

/** False only where the pool is sure that it does not hold the block; one that is damaged beyond that is there. */
async function isThere(pool: Pool, { blockId }: BlockStat, signal: AbortSignal): Promise<boolean> {
  try {
    return (await pool.stat(blockId, signal)) !== null;
  } catch (error) {
    signal.throwIfAborted();
    if ((error as { outcome?: string }).outcome !== 'permanent') throw error;
    return true;
  }
}

async function bytesOf(pool: Pool, signal: AbortSignal): Promise<number> {
  let bytes = 0;
  // Those that are damaged are told when their turn comes.
  for await (const { size } of pool.list(signal, { onDamaged: () => undefined })) bytes += size;
  return bytes;
}

function readState(last: unknown): State {
  const parsed = stateSchema.safeParse(last);
  return parsed.success ? parsed.data : stateSchema.parse({});
}
