/** The main job, end to end, over the REST API alone: a disk goes to S3 and comes back, through a crash. */
import { join } from 'node:path';
import type { Stack } from '../supervisor/stack.ts';
import { ApiClient } from './api-client.ts';
import { nodeOf } from './node-crash.ts';
import { compareWithImage } from './steps/compare-with-image.ts';
import type { DemoContext, StepRow } from './steps/context.ts';
import { createPools } from './steps/create-pools.ts';
import { dropLocal } from './steps/drop-local.ts';
import { importImage } from './steps/import-image.ts';
import { makeDisk } from './steps/make-disk.ts';
import { restore } from './steps/restore.ts';
import { describeSentAgain, percent, uploadAndKill } from './steps/upload-and-kill.ts';
import { formatTable } from './table.ts';
import { formatBytes, formatRate } from './units.ts';
import { WireMeter } from './wire-meter.ts';

const NODE_ID = 'node-1';

export interface DemoOptions {
  stack: Stack;
  /** Absolute. */
  dir: string;
  /** Bytes of the disk. */
  size: number;
  say: (line: string) => void;
  signal: AbortSignal;
}

/** Throws an OpenServiceError with one clear sentence at the first thing that is wrong. */
export async function runDemo(options: DemoOptions): Promise<void> {
  const { stack, dir, size, say, signal } = options;
  const { center, s3 } = stack.stack;
  const meter = WireMeter.canMeter(s3.endpoint) ? new WireMeter(s3.endpoint) : null;
  try {
    const s3Endpoint = meter === null ? s3.endpoint : await meter.start();
    const context: DemoContext = {
      stack,
      api: new ApiClient(center.url, center.token),
      nodeId: NODE_ID,
      image: join(nodeOf(stack, NODE_ID).import_root, 'disk.img'),
      poolPath: join(dir, 'demo-pool'),
      meter,
      signal,
    };
    const disk = await makeDisk(context.image, size, signal);
    const rows: StepRow[] = [disk.row];
    const { localPoolId, s3PoolId } = await createPools(context, s3Endpoint);
    say(`pools: ${localPoolId} (local, ${context.poolPath}), ${s3PoolId} (S3, bucket ${s3.bucket} at ${s3.endpoint})`);
    const imported = await importImage(context, localPoolId);
    rows.push(imported.row);
    const before = await context.api.block(imported.blockId);
    const { upload, row } = await uploadAndKill(context, imported.blockId, s3PoolId, disk);
    rows.push(row);
    say(describeSentAgain(upload));
    const again = upload.sentAgainBytes;
    rows.push({
      step: '  of that, sent again',
      bytes: again,
      seconds: 0,
      note: `${percent(again, upload.storedBytes)} of what is stored`,
    });
    rows.push(await dropLocal(context, imported.blockId, localPoolId));
    rows.push(await restore(context, imported.blockId, localPoolId, before));
    rows.push(await compareWithImage(context, imported.blockId));
    say(`\n${tableOf(rows)}Rates are of the whole disk: holes count, and cost nothing.`);
  } finally {
    await meter?.stop();
  }
}

function tableOf(rows: readonly StepRow[]): string {
  return formatTable(
    [
      { title: 'step' },
      { title: 'bytes', align: 'right' },
      { title: 'seconds', align: 'right' },
      { title: 'rate', align: 'right' },
      { title: 'note' },
    ],
    rows.map(({ step, bytes, seconds, note }) => [
      step,
      bytes === null ? '-' : formatBytes(bytes),
      seconds === 0 ? '-' : seconds.toFixed(1),
      bytes === null || seconds === 0 ? '-' : formatRate(bytes / seconds),
      note,
    ]),
  );
}
