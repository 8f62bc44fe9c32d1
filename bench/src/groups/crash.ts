/** What a SIGKILL of the node in the middle of an upload costs: the demo's own measurement, on the bench's image. */
import { uploadThroughCrash } from '@openservice/stack/demo/upload-through-crash';
import { WireMeter } from '@openservice/stack/demo/wire-meter';
import { imageFor } from '../images.ts';
import { type Lab, NODE_ID } from '../lab.ts';
import { limitRow, type Row } from '../row.ts';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
const LIMIT_PERCENT = 3;

export async function sentAgainAfterKill(lab: Lab, repetitions: number): Promise<Row[]> {
  const image = await imageFor(lab, 'disk-4g', 4 * GIB, 1.2 * GIB);
  const pool = await lab.localPool();
  const { blockId } = await lab.import(pool.id, image.path);
  const { endpoint } = lab.stack.stack.s3;
  const meter = WireMeter.canMeter(endpoint) ? new WireMeter(endpoint) : null;
  const shares: number[] = [];
  try {
    const through = meter === null ? endpoint : await meter.start();
    for (let i = 0; i < repetitions; i++) {
      const s3PoolId = await lab.s3Pool(through);
      const upload = await uploadThroughCrash({
        ...lab,
        nodeId: NODE_ID,
        blockId,
        s3PoolId,
        dataBytes: image.dataBytes,
        meter,
        onJob: () => undefined,
        onNote: (text) => lab.say(`  ${text}`),
      });
      const share = (100 * upload.sentAgainBytes) / upload.storedBytes;
      shares.push(share);
      lab.say(`  crash ${i + 1}/${repetitions}: ${mib(upload.sentAgainBytes)} sent again of ${mib(upload.storedBytes)} stored`);
      await lab.delete(blockId, s3PoolId);
      await lab.collect(s3PoolId);
    }
  } finally {
    await meter?.stop();
  }
  await lab.delete(blockId);
  const how = meter === null ? "by the job's own count, a lower bound" : 'counted on the wire to S3';
  const note = `the worst of all repetitions, in % of the stored bytes, ${how}`;
  return [limitRow({ name: 'sent again after SIGKILL', unit: '%', note }, Math.max(...shares), LIMIT_PERCENT)];
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}
