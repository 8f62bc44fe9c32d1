import { ProgressBar } from '../progress-bar.ts';
import { formatBytes } from '../units.ts';
import { type CrashUpload, uploadThroughCrash } from '../upload-through-crash.ts';
import type { DemoContext, StepRow } from './context.ts';

/** `POST …?action=upload`, with the node killed on the way. */
export async function uploadAndKill(
  context: DemoContext,
  blockId: string,
  s3PoolId: string,
  disk: { size: number; dataBytes: number },
): Promise<{ upload: CrashUpload; row: StepRow }> {
  const bar = new ProgressBar('upload to S3');
  try {
    const upload = await uploadThroughCrash({
      ...context,
      blockId,
      s3PoolId,
      dataBytes: disk.dataBytes,
      onJob: (job) => bar.update(job.bytes_done, job.bytes_total),
      onNote: (text) => bar.note(text),
    });
    const seconds = bar.finish(disk.size, `${formatBytes(upload.storedBytes)} stored`);
    const note = `node killed at ${Math.round(upload.killedAt * 100)} %, back in ${upload.restart.seconds.toFixed(1)} s; ${formatBytes(upload.storedBytes)} stored`;
    return { upload, row: { step: 'upload to S3', bytes: disk.size, seconds, note } };
  } finally {
    bar.stop();
  }
}

/** What the crash cost, in words that say what was counted. */
export function describeSentAgain({ job, sentAgainBytes, storedBytes, metered }: CrashUpload): string {
  const how = metered
    ? 'bytes on the wire to S3 during the upload, counted by a relay in between, request heads included, less what is stored'
    : 'at least: by the job alone, less what is stored, since this S3 server cannot be metered';
  return [
    `sent again because of the kill: ${formatBytes(sentAgainBytes)}, ${percent(sentAgainBytes, storedBytes)} of the ${formatBytes(storedBytes)} stored`,
    `  (${how}; the job itself knows of ${formatBytes(job.bytes_sent)} sent)`,
  ].join('\n');
}

export function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(2)} %`;
}
