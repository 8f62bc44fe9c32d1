/** What the size of a pool costs the node: the same import into a dedup pool of ten million chunks and into an empty one. */
import { rm } from 'node:fs/promises';
import { imageFor } from '../images.ts';
import { jobSeconds, type Lab, settle, warm } from '../lab.ts';
import { withPeak } from '../memory.ts';
import { limitRow, type Row, ratioRow } from '../row.ts';
import { simulateIndex } from '../simulated-index.ts';

const GIB = 1024 ** 3;
const CHUNKS = 10_000_000;
const MEMORY_LIMIT_MIB = 350;
const DOES_NOT_GROW = 1.15;

export async function memoryOfLargePool(lab: Lab): Promise<Row[]> {
  const image = await imageFor(lab, 'disk-2g', 2 * GIB, GIB);
  await warm(image.path);
  const peaks = { empty: [] as number[], large: [] as number[] };
  const seconds = { empty: [] as number[], large: [] as number[] };
  let chunks = 0;
  for (const side of ['empty', 'large'] as const) {
    const pool = await lab.dedupPool();
    if (side === 'large') chunks = await simulateIndex(pool.path, CHUNKS, lab.signal);
    // Twice: the first writer of a node reads the whole index, the next only what is new. The second stores nothing.
    for (let i = 0; i < 2; i++) {
      await settle(lab.signal);
      const { value, peakMiB } = await withPeak(lab, () => lab.import(pool.id, image.path));
      peaks[side].push(peakMiB);
      seconds[side].push(jobSeconds(value.job));
      lab.say(`  ${side} pool, import ${i + 1}: ${seconds[side][i]!.toFixed(2)} s, ${peakMiB.toFixed(0)} MiB`);
    }
    await rm(pool.path, { recursive: true, force: true });
  }
  const name = 'memory, pool of 10 M chunks';
  const note = `${chunks} chunks in the index, of packs that are not there; the node reads it in the first import: ${seconds.large[0]!.toFixed(1)} s`;
  return [
    limitRow({ name, unit: 'MiB', note }, Math.max(...peaks.large), MEMORY_LIMIT_MIB),
    ratioRow(
      { name: `${name}, once it is read`, unit: 'MiB', note: 'peer: the same product and an empty pool; second import each' },
      peaks.large.slice(1),
      peaks.empty.slice(1),
      DOES_NOT_GROW,
    ),
    ratioRow(
      {
        name: 'second import, pool of 10 M chunks',
        unit: 's',
        note: 'peer: the same product and a small pool; all of it stored already',
      },
      seconds.large.slice(1),
      seconds.empty.slice(1),
      null,
    ),
  ];
}
