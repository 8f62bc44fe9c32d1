/** What a SIGKILL of the node in the middle of an upload costs: the demo's own measurement, on the bench's image. */
import { sentAgain } from '@openservice/stack/demo/steps/upload-and-kill';
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
      shares.push((100 * sentAgain(upload)) / upload.storedBytes);
      lab.say(
        `  crash ${i + 1}/${repetitions}: sent again ${(upload.sentAgainBytes / MIB).toFixed(1)} MiB by the job's count, ` +
          `${upload.wireAgainBytes === null ? '-' : (upload.wireAgainBytes / MIB).toFixed(1)} MiB on the wire, of ${(upload.storedBytes / MIB).toFixed(1)} MiB stored`,
      );
      await lab.delete(blockId, s3PoolId);
    }
  } finally {
    await meter?.stop();
  }
  await lab.delete(blockId);
  const note = 'the worst of all repetitions, the larger of the wire and the job, in % of the stored bytes';
  return [limitRow({ name: 'sent again after SIGKILL', unit: '%', note }, Math.max(...shares), LIMIT_PERCENT)];
}
