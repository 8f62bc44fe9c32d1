import { PermanentError } from '@openservice/domain';
import { followJob } from '../follow-job.ts';
import { ProgressBar } from '../progress-bar.ts';
import type { DemoContext, StepRow } from './context.ts';

/** `POST …?action=restore` into the local pool. PermanentError `digest_changed` when the block is no longer the same content. */
export async function restore(
  context: DemoContext,
  blockId: string,
  localPoolId: string,
  before: { size: number; root_digest: string | null },
): Promise<StepRow> {
  const { api, signal } = context;
  const bar = new ProgressBar('restore from S3');
  try {
    const jobId = await api.blockAction(blockId, 'restore', { pool_id: localPoolId });
    await followJob(api, jobId, { signal, onJob: (job) => bar.update(job.bytes_done, job.bytes_total) });
    const seconds = bar.finish(before.size);
    const { root_digest } = await api.block(blockId);
    if (root_digest === null || root_digest !== before.root_digest) {
      throw new PermanentError(
        'digest_changed',
        `Block ${blockId} had the root digest ${before.root_digest} and has ${root_digest} after it was restored.`,
      );
    }
    return { step: 'restore from S3', bytes: before.size, seconds, note: `root digest ${root_digest.slice(0, 16)}…` };
  } finally {
    bar.stop();
  }
}
