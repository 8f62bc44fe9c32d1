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
export function describeSentAgain(upload: CrashUpload): string {
  const again = (bytes: number): string => `${formatBytes(bytes)} (${percent(bytes, upload.storedBytes)} of what is stored)`;
  const wire =
    upload.wireAgainBytes === null
      ? 'not counted on the wire, since this S3 server is not reached over plain HTTP'
      : `by a counter on the wire, which sees every byte of every request to S3: ${again(upload.wireAgainBytes)}`;
  return [
    'sent again because of the kill = bytes sent to S3 - bytes stored there:',
    `  by the job's own count, which knows only what the node had recorded when it died: ${again(upload.sentAgainBytes)}`,
    `  ${wire}`,
  ].join('\n');
}

/** The larger of both counts: the one to be judged by. */
export function sentAgain(upload: CrashUpload): number {
  return Math.max(upload.sentAgainBytes, upload.wireAgainBytes ?? 0, 0);
}

export function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(2)} %`;
}
