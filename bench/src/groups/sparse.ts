/** What size costs where there is nothing in it: 256 GiB with the same files as 2 GiB. */
import { imageFor } from '../images.ts';
import { jobSeconds, type Lab, settle, warm } from '../lab.ts';
import { withPeak } from '../memory.ts';
import { limitRow, type Row, ratioRow } from '../row.ts';

const GIB = 1024 ** 3;
const MEMORY_LIMIT_MIB = 350;
const ABOUT_AS_MUCH = 1.5;

export async function hugeBesideSmall(lab: Lab, repetitions: number): Promise<Row[]> {
  const huge = await imageFor(lab, 'disk-256g', 256 * GIB, GIB);
  const small = await imageFor(lab, 'disk-2g', 2 * GIB, GIB);
  const pool = await lab.localPool();
  const times = {
    huge: { import: [] as number[], upload: [] as number[] },
    small: { import: [] as number[], upload: [] as number[] },
  };
  const peaks = { import: [] as number[], upload: [] as number[] };
  await warm(small.path);
  for (let i = 0; i < repetitions; i++) {
    for (const [side, image] of [
      ['huge', huge],
      ['small', small],
    ] as const) {
      const s3 = await lab.s3Pool();
      await settle(lab.signal);
      const imported = await withPeak(lab, () => lab.import(pool.id, image.path));
      await settle(lab.signal);
      const uploaded = await withPeak(lab, () => lab.transfer(imported.value.blockId, 'upload', s3));
      times[side].import.push(jobSeconds(imported.value.job));
      times[side].upload.push(jobSeconds(uploaded.value));
      if (side === 'huge') {
        peaks.import.push(imported.peakMiB);
        peaks.upload.push(uploaded.peakMiB);
      }
      await lab.delete(imported.value.blockId);
      await lab.collect(s3);
      lab.say(
        `  ${side} ${i + 1}/${repetitions}: import ${times[side].import[i]!.toFixed(2)} s, upload ${times[side].upload[i]!.toFixed(1)} s`,
      );
    }
  }
  const note = 'ours: 256 GiB with 1 GiB of files; peer: the same product with a 2 GiB image of the same files';
  return [
    ratioRow({ name: 'import 256 GiB sparse', unit: 's', note }, times.huge.import, times.small.import, ABOUT_AS_MUCH),
    ratioRow({ name: 'upload 256 GiB sparse', unit: 's', note }, times.huge.upload, times.small.upload, ABOUT_AS_MUCH),
    limitRow({ name: 'memory, import 256 GiB', unit: 'MiB' }, Math.max(...peaks.import), MEMORY_LIMIT_MIB),
    limitRow({ name: 'memory, upload 256 GiB', unit: 'MiB' }, Math.max(...peaks.upload), MEMORY_LIMIT_MIB),
  ];
}
