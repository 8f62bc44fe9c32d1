/**
 * Replicas of a block are read, whole or by sample, and compared with what the block is. Damage is a finding, not a failure of the job; where
 * other replicas may be used, damaged chunks are written anew from them.
 */
import type { JobContext, JobHandler } from '@openservice/agent';
import type { JobParams, JobResult } from '@openservice/protocol';
import type { TransferCounters } from '@openservice/transfer';
import type { JobDeps } from './deps.ts';
import { ProgressMeter } from './progress-meter.ts';
import { Repair } from './repair.ts';
import { checkReplica } from './replica-check.ts';
import { bandwidthOf } from './replicate.ts';
import { damageOf, notesOf } from './results.ts';

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
