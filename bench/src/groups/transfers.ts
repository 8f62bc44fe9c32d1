/** Import, upload and restore of one disk, each beside its peer, by turns. */
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { imageFor } from '../images.ts';
import { jobSeconds, type Lab, settle, warm } from '../lab.ts';
import { withPeak } from '../memory.ts';
import { cpAndSync } from '../peers/cp.ts';
import { findRclone, Rclone } from '../peers/rclone.ts';
import { limitRow, type Row, ratioRow, skippedRow } from '../row.ts';

const GIB = 1024 ** 3;
const MEMORY_LIMIT_MIB = 350;

export async function importBesideCp(lab: Lab, repetitions: number): Promise<Row[]> {
  const image = await imageFor(lab, 'disk-4g', 4 * GIB, 1.2 * GIB);
  const pool = await lab.localPool();
  const [ours, peer, peaks]: [number[], number[], number[]] = [[], [], []];
  await warm(image.path);
  for (let i = 0; i < repetitions; i++) {
    await settle(lab.signal);
    const { value, peakMiB } = await withPeak(lab, () => lab.import(pool.id, image.path));
    ours.push(jobSeconds(value.job));
    peaks.push(peakMiB);
    await lab.delete(value.blockId);
    await settle(lab.signal);
    peer.push(await cpAndSync(lab, image.path));
    lab.say(`  import ${i + 1}/${repetitions}: ours ${ours[i]!.toFixed(2)} s, cp --sparse and sync ${peer[i]!.toFixed(2)} s`);
  }
  const note = 'ours: from 202 to committed, hashed; peer: cp --sparse=always and sync of the file';
  return [
    ratioRow({ name: 'import 4 GiB', unit: 's', note }, ours, peer, 2),
    limitRow({ name: 'memory, import', unit: 'MiB' }, Math.max(...peaks), MEMORY_LIMIT_MIB),
  ];
}

export async function s3BesideRclone(lab: Lab, repetitions: number): Promise<Row[]> {
  const found = await findRclone(lab.say, lab.signal);
  const rclone = found.peer === null ? null : new Rclone(found.peer, lab);
  const image = await imageFor(lab, 'disk-4g', 4 * GIB, 1.2 * GIB);
  const pool = await lab.localPool();
  const { blockId } = await lab.import(pool.id, image.path);
  const back = join(lab.dir, 'stack', 'peer-back.img');
  const up = { ours: [] as number[], peer: [] as number[], peaks: [] as number[] };
  const down = { ours: [] as number[], peer: [] as number[], peaks: [] as number[] };
  await warm(image.path);
  for (let i = 0; i < repetitions; i++) {
    const s3 = await lab.s3Pool();
    await settle(lab.signal);
    const upload = await withPeak(lab, () => lab.transfer(blockId, 'upload', s3));
    up.ours.push(jobSeconds(upload.value));
    up.peaks.push(upload.peakMiB);
    await lab.delete(blockId, pool.id);
    await settle(lab.signal);
    const restore = await withPeak(lab, () => lab.transfer(blockId, 'restore', pool.id));
    down.ours.push(jobSeconds(restore.value));
    down.peaks.push(restore.peakMiB);
    await lab.delete(blockId, s3);
    await lab.collect(s3);
    if (rclone !== null) {
      await settle(lab.signal);
      up.peer.push(await rclone.upload(image.path, 'rclone/disk.img'));
      await settle(lab.signal);
      down.peer.push(await rclone.download('rclone/disk.img', back));
      await sameSize(image.path, back);
      await rclone.remove('rclone/disk.img');
      await rm(back, { force: true });
    }
    const peer = rclone === null ? '' : `; rclone ${up.peer[i]!.toFixed(1)} s up, ${down.peer[i]!.toFixed(1)} s down`;
    lab.say(`  s3 ${i + 1}/${repetitions}: ours ${up.ours[i]!.toFixed(1)} s up, ${down.ours[i]!.toFixed(1)} s down${peer}`);
  }
  await lab.delete(blockId);
  const beside = (name: string, sides: { ours: number[]; peer: number[] }, most: number | null): Row =>
    found.peer === null
      ? skippedRow({ name, unit: 's' }, found.why)
      : ratioRow({ name, unit: 's', note: 'peer: rclone copyto, same image and server' }, sides.ours, sides.peer, most);
  return [
    beside('upload 4 GiB to S3', up, 0.5),
    beside('restore 4 GiB from S3', down, null),
    limitRow({ name: 'memory, upload', unit: 'MiB' }, Math.max(...up.peaks), MEMORY_LIMIT_MIB),
    limitRow({ name: 'memory, restore', unit: 'MiB' }, Math.max(...down.peaks), MEMORY_LIMIT_MIB),
  ];
}

async function sameSize(left: string, right: string): Promise<void> {
  const [a, b] = await Promise.all([stat(left), stat(right)]);
  if (a.size !== b.size) throw new Error(`rclone brought back ${b.size} bytes of ${a.size}; its times say nothing.`);
}
