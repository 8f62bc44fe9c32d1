/** A copy between two local pools, each chunk checked by its digest, beside cp and sync. */
import { imageFor } from '../images.ts';
import { jobSeconds, type Lab, settle, warm } from '../lab.ts';
import { withPeak } from '../memory.ts';
import { cpAndSync } from '../peers/cp.ts';
import { limitRow, type Row, ratioRow } from '../row.ts';

const GIB = 1024 ** 3;
const MEMORY_LIMIT_MIB = 350;

export async function localCopyBesideCp(lab: Lab, repetitions: number): Promise<Row[]> {
  const image = await imageFor(lab, 'disk-4g', 4 * GIB, 1.2 * GIB);
  const from = await lab.localPool();
  const to = await lab.localPool();
  const { blockId } = await lab.import(from.id, image.path);
  const [ours, peer, peaks]: [number[], number[], number[]] = [[], [], []];
  await warm(image.path);
  for (let i = 0; i < repetitions; i++) {
    await settle(lab.signal);
    const { value, peakMiB } = await withPeak(lab, () => lab.copy(blockId, to.id));
    ours.push(jobSeconds(value.job));
    peaks.push(peakMiB);
    await lab.delete(value.blockId);
    await settle(lab.signal);
    peer.push(await cpAndSync(lab, image.path));
    lab.say(`  copy ${i + 1}/${repetitions}: ours ${ours[i]!.toFixed(2)} s, cp --sparse and sync ${peer[i]!.toFixed(2)} s`);
  }
  await lab.delete(blockId);
  const note = 'ours: from 202 to committed, every chunk checked; peer: cp --sparse=always --reflink=never and sync of the file';
  return [
    ratioRow({ name: 'copy, local to local', unit: 's', note }, ours, peer, 2),
    limitRow({ name: 'memory, copy', unit: 'MiB' }, Math.max(...peaks), MEMORY_LIMIT_MIB),
  ];
}
