/** Replicas of a block are read from end to end and compared with its root digest. Damage is a finding, not a failure of the job. */
import type { JobContext, JobHandler } from '@openservice/agent';
import { PermanentError } from '@openservice/domain';
import type { BlockReader } from '@openservice/pools';
import type { BlockRef, JobParams, JobResult } from '@openservice/protocol';
import { type TransferCounters, type VerifyReport, verifySource } from '@openservice/transfer';
import type { JobDeps } from './deps.ts';
import { ProgressMeter } from './progress-meter.ts';
import { bandwidthOf, JOB_WINDOW } from './replicate.ts';

const MAX_DAMAGE = 100;
/** What openReader says of a replica that is damaged beyond reading; anything else is an error of the job. */
const UNREADABLE = new Set(['block_not_in_pool', 'damaged_manifest', 'damaged_ledger', 'damaged_chunk', 'object_not_found']);

type Params = JobParams['verify'];
type Finding = Pick<JobResult, 'damage'> & { replica: JobResult['replicas'][number] };

export function verifyHandler(deps: JobDeps): JobHandler<'verify'> {
  return {
    kind: 'verify',
    concurrency: 1,
    async run(context) {
      const { block, pool_ids } = context.params;
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
      const damage = findings.flatMap((finding) => finding.damage).slice(0, MAX_DAMAGE);
      // A replica that could not be opened is done with, too.
      whole.bytesDone = total;
      return {
        root_digest: block.root_digest,
        size: block.size,
        replicas: findings.map((finding) => finding.replica),
        verified: findings.every((finding) => finding.replica.state === 'available'),
        progress: meter.read(whole),
        damage,
      };
    },
    async cleanUp() {
      // A verify writes nothing.
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
  const pool = await deps.pools.get(poolId, signal);
  let reader: BlockReader | null = null;
  try {
    reader = await pool.openReader(params.block.id, signal);
    const mismatch = headMismatch(reader, params.block);
    if (mismatch !== null) return damaged(poolId, [mismatch]);
    const report = await verifySource({
      source: reader,
      expectedRoot: Buffer.from(params.block.root_digest, 'hex'),
      signal,
      window: JOB_WINDOW,
      bandwidth: bandwidthOf(params),
      onProgress,
    });
    if (!report.intact) return damaged(poolId, sentences(report, params.block));
    const stat = await pool.stat(params.block.id, signal);
    return { replica: { pool_id: poolId, state: 'available', stored_bytes: stat?.storedBytes ?? 0 }, damage: [] };
  } catch (error) {
    if (error instanceof PermanentError && UNREADABLE.has(error.code)) return damaged(poolId, [error.message]);
    throw error;
  } finally {
    await reader?.close();
  }
}

function headMismatch(reader: BlockReader, block: BlockRef): string | null {
  if (reader.size === block.size && reader.chunkSize === block.chunk_size) return null;
  return `The replica has ${reader.size} bytes in chunks of ${reader.chunkSize}; expected were ${block.size} in chunks of ${block.chunk_size}.`;
}

function sentences(report: VerifyReport, block: BlockRef): string[] {
  if (report.damagedChunks === 0) {
    return [`All chunks can be read, but make up digest ${report.rootDigest?.toString('hex')} instead of ${block.root_digest}.`];
  }
  return report.damage.map(({ first, count }) => {
    const end = Math.min((first + count) * block.chunk_size, block.size);
    return `Bytes ${first * block.chunk_size} to ${end - 1} (${count} chunks from chunk ${first} on) are damaged.`;
  });
}

function damaged(poolId: string, messages: string[]): Finding {
  return {
    replica: { pool_id: poolId, state: 'damaged', stored_bytes: 0 },
    damage: messages.slice(0, MAX_DAMAGE).map((message) => ({ pool_id: poolId, message })),
  };
}
