/**
 * Replicas of a block are read, whole or by sample, and compared with what the block is. Damage is a finding, not a failure of the job; where
 * other replicas may be used, damaged chunks are written anew from them.
 */
import type { JobContext, JobHandler } from '@openservice/agent';
import type { JobParams, JobResult } from '@openservice/protocol';
import type { TransferCounters } from '@openservice/transfer';
import type { JobDeps } from './deps.ts';
import { ProgressMeter } from './progress-meter.ts';
import { repairChunks } from './repair.ts';
import { checkReplica, rangeSentence } from './replica-check.ts';
import { bandwidthOf } from './replicate.ts';
import { damageOf, MAX_DAMAGE, notesOf } from './results.ts';

type Params = JobParams['verify'];

interface Finding {
  replica: JobResult['replicas'][number];
  damage: string[];
  notes: string[];
}

export function verifyHandler(deps: JobDeps): JobHandler<'verify'> {
  return {
    kind: 'verify',
    concurrency: 1,
    async run(context) {
      const { block, pool_ids, sample } = context.params;
      const total = block.size * pool_ids.length;
      const meter = new ProgressMeter(0);
      const findings: Finding[] = [];
      const whole: TransferCounters = { bytesTotal: total, bytesDone: 0, bytesSent: 0, bytesSkipped: 0 };
      for (const [i, poolId] of pool_ids.entries()) {
        const skippedBefore = whole.bytesSkipped;
        findings.push(
          await verifyReplica(deps, context, poolId, (now) => {
            whole.bytesDone = i * block.size + now.bytesDone;
            whole.bytesSkipped = skippedBefore + now.bytesSkipped;
            context.progress(meter.read(whole));
          }),
        );
      }
      // A replica that could not be opened is done with, too.
      whole.bytesDone = total;
      const good = findings.every(({ replica }) => replica.state === 'available');
      return {
        root_digest: block.root_digest,
        size: block.size,
        replicas: findings.map(({ replica }) => replica),
        verified: good && sample === 1,
        progress: meter.read(whole),
        damage: damageOf(
          findings.flatMap(({ replica, damage }) =>
            damage.map((message) => ({ pool_id: replica.pool_id, block_id: block.id, message })),
          ),
        ),
        ...notesOf(findings.flatMap(({ notes }) => notes)),
      };
    },
    async cleanUp() {
      // A verify leaves nothing half-made: a chunk is repaired or it is not.
    },
  };
}

async function verifyReplica(
  deps: JobDeps,
  context: JobContext<Params>,
  poolId: string,
  onProgress: (counters: TransferCounters) => void,
): Promise<Finding> {
  const { signal, params } = context;
  const { block, sample } = params;
  const pool = await deps.pools.get(poolId, signal);
  const found = await checkReplica({ pool, block, sample, bandwidth: bandwidthOf(params), signal, onProgress });
  let { damage } = found;
  const notes: string[] = [];
  if (found.chunks.length > 0) {
    await context.awaitLease();
    const from = params.repair_from.filter((id) => id !== poolId);
    const repaired = await repairChunks(deps, context, pool, block, found.chunks, from);
    notes.push(...repaired.notes);
    damage = rangesOf(repaired.left).map(({ first, count }) => rangeSentence(first, count, block));
    if (found.more) damage.push(`More than ${found.chunks.length} chunks are damaged; verify again to go on with the rest.`);
  }
  if (damage.length > 0) return { replica: { pool_id: poolId, state: 'damaged', stored_bytes: 0 }, damage, notes };
  const stat = await pool.stat(block.id, signal);
  return { replica: { pool_id: poolId, state: 'available', stored_bytes: stat?.storedBytes ?? 0 }, damage, notes };
}

/** Neighbours joined; as many as a result tells of. `chunks` ascend. */
function rangesOf(chunks: readonly number[]): { first: number; count: number }[] {
  const ranges: { first: number; count: number }[] = [];
  for (const index of chunks) {
    const last = ranges.at(-1);
    if (last !== undefined && last.first + last.count === index) last.count += 1;
    else if (ranges.length === MAX_DAMAGE) break;
    else ranges.push({ first: index, count: 1 });
  }
  return ranges;
}
