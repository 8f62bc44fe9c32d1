/**
 * Replicas of a block are read, whole or by sample, and compared with what the block is. Damage is a finding, not a failure of the job; where
 * other replicas may be used, damaged chunks are written anew from them. Goes on behind the last replica that was done.
 */
import type { JobContext, JobHandler } from '@openservice/agent';
import { type JobParams, type JobResult, jobResult } from '@openservice/protocol';
import type { TransferCounters } from '@openservice/transfer';
import { z } from 'zod';
import type { JobDeps } from './deps.ts';
import { ProgressMeter } from './progress-meter.ts';
import { Repair } from './repair.ts';
import { checkReplica } from './replica-check.ts';
import { bandwidthOf } from './replicate.ts';
import { damageOf, notesOf } from './results.ts';
import { withStopPoints } from './stop-points.ts';

type Params = JobParams['verify'];

interface Finding {
  replica: JobResult['replicas'][number];
  damage: string[];
  notes: string[];
}

const stateSchema = z.object({
  /** Of the first pools that are to be verified. */
  findings: z.array(
    z.object({
      replica: jobResult.shape.replicas.element,
      damage: z.array(z.string()),
      notes: z.array(z.string()),
    }),
  ),
});

export function verifyHandler(deps: JobDeps): JobHandler<'verify'> {
  return {
    kind: 'verify',
    concurrency: 1,
    async run(context) {
      const { block, pool_ids, sample } = context.params;
      const total = block.size * pool_ids.length;
      const meter = new ProgressMeter(0);
      const findings = readFindings(context.lastCheckpoint, pool_ids);
      const whole: TransferCounters = { bytesTotal: total, bytesDone: 0, bytesSent: 0, bytesSkipped: 0 };
      for (const poolId of pool_ids.slice(findings.length)) {
        const before = { done: findings.length * block.size, skipped: whole.bytesSkipped };
        const verify = () =>
          verifyReplica(deps, context, poolId, (now) => {
            whole.bytesDone = before.done + now.bytesDone;
            whole.bytesSkipped = before.skipped + now.bytesSkipped;
            context.progress(meter.read(whole));
          });
        findings.push(await withStopPoints(context, () => ({ findings }), verify));
        if (findings.length < pool_ids.length) await context.checkpoint({ findings });
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

function readFindings(last: unknown, poolIds: readonly string[]): Finding[] {
  const { findings = [] } = stateSchema.safeParse(last).data ?? {};
  return findings.every(({ replica }, i) => replica.pool_id === poolIds[i]) ? findings : [];
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
  const from = params.repair_from.filter((id) => id !== poolId);
  const repair = new Repair({ deps, context, pool, block, from });
  try {
    const damage = await checkReplica({
      pool,
      block,
      sample,
      bandwidth: bandwidthOf(params),
      limits: deps.limits.of([poolId]),
      signal,
      onProgress,
      onDamage: (index, inner) => repair.mend(index, inner),
    });
    const stat = damage.length === 0 ? await pool.stat(block.id, signal) : null;
    const state = damage.length === 0 ? 'available' : 'damaged';
    return { replica: { pool_id: poolId, state, stored_bytes: stat?.storedBytes ?? 0 }, damage, notes: repair.notes() };
  } finally {
    await repair.close();
  }
}
