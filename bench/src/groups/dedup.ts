/** A dedup pool beside borg and restic: first import, second with one percent changed, restore, stored size. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { changedImage } from '../changed-image.ts';
import { imageFor } from '../images.ts';
import { jobSeconds, type Lab, settle, warm } from '../lab.ts';
import { withPeak } from '../memory.ts';
import { type BackupPeer, borg, restic } from '../peers/backup.ts';
import { limitRow, type Row, ratioRow, skippedRow } from '../row.ts';

const GIB = 1024 ** 3;
const MEMORY_LIMIT_MIB = 350;
const CHANGED_PERCENT = 1;

interface Side {
  first: number[];
  second: number[];
  restore: number[];
  storedMiB: number[];
}

const side = (): Side => ({ first: [], second: [], restore: [], storedMiB: [] });

export async function dedupBesideBackups(lab: Lab, repetitions: number): Promise<Row[]> {
  const image = await imageFor(lab, 'disk-4g', 4 * GIB, 1.2 * GIB);
  const later = join(lab.imports, 'disk-4g-later.img');
  await changedImage(image.path, later, image.dataBytes, CHANGED_PERCENT, lab.signal);
  const peers = {
    borg: await borg(join(lab.dir, 'stack', 'borg'), lab.say, lab.signal),
    restic: await restic(join(lab.dir, 'stack', 'restic'), lab.say, lab.signal),
  };
  const ours = side();
  const theirs = { borg: side(), restic: side() };
  const peaks: number[] = [];
  for (const path of [image.path, later]) await warm(path);
  for (let i = 0; i < repetitions; i++) {
    peaks.push(...(await measureOurs(lab, image.path, later, ours)));
    lab.say(`  dedup ${i + 1}/${repetitions}: ours ${last(ours)}`);
    for (const name of ['borg', 'restic'] as const) {
      const { peer } = peers[name];
      if (peer === null) continue;
      await measurePeer(lab, peer, image.path, later, theirs[name]);
      lab.say(`  dedup ${i + 1}/${repetitions}: ${name} ${last(theirs[name])}`);
    }
  }
  await rm(later, { force: true });
  const beside = (what: string, part: keyof Side, name: 'borg' | 'restic', unit: string, most: number | null): Row => {
    const found = peers[name];
    if (found.peer === null) return skippedRow({ name: what, unit }, found.why);
    return ratioRow({ name: what, unit, note: `peer: ${name}` }, ours[part], theirs[name][part], most);
  };
  return [
    beside('first import, dedup', 'first', 'borg', 's', 0.4),
    beside('first import, dedup', 'first', 'restic', 's', 0.1),
    beside('second import, 1 % changed', 'second', 'borg', 's', 0.08),
    beside('second import, 1 % changed', 'second', 'restic', 's', null),
    beside('restore from dedup to a file', 'restore', 'restic', 's', 0.3),
    beside('stored size of both', 'storedMiB', 'restic', 'MiB', 1.15),
    limitRow({ name: 'memory, dedup', unit: 'MiB' }, Math.max(...peaks), MEMORY_LIMIT_MIB),
  ];
}

/** Answers the peaks of memory, MiB. */
async function measureOurs(lab: Lab, image: string, later: string, times: Side): Promise<number[]> {
  const pool = await lab.dedupPool();
  const back = join(lab.imports, 'disk-4g-back.img');
  await settle(lab.signal);
  const first = await withPeak(lab, () => lab.import(pool.id, image));
  await settle(lab.signal);
  const second = await withPeak(lab, () => lab.import(pool.id, later));
  await settle(lab.signal);
  const restore = await withPeak(lab, () => lab.restoreToFile(first.value.blockId, back));
  times.first.push(jobSeconds(first.value.job));
  times.second.push(jobSeconds(second.value.job));
  times.restore.push(jobSeconds(restore.value));
  times.storedMiB.push(await mebibytes(pool.path, lab.signal));
  await same(image, back, lab.signal);
  await rm(back, { force: true });
  for (const { value } of [first, second]) await lab.delete(value.blockId);
  await rm(pool.path, { recursive: true, force: true });
  return [first.peakMiB, second.peakMiB, restore.peakMiB];
}

async function measurePeer(lab: Lab, peer: BackupPeer, image: string, later: string, times: Side): Promise<void> {
  const dir = join(lab.dir, 'stack', peer.name);
  const into = join(lab.dir, 'stack', `${peer.name}-back`);
  await peer.init();
  await settle(lab.signal);
  times.first.push(await peer.backup(image));
  if (peer.name === 'restic') {
    await settle(lab.signal);
    const back = await peer.restore(image, into);
    times.restore.push(back.seconds);
    await same(image, back.path, lab.signal);
    await rm(into, { recursive: true, force: true });
  }
  await settle(lab.signal);
  times.second.push(await peer.backup(later));
  times.storedMiB.push(await mebibytes(join(dir, 'repository'), lab.signal));
  await rm(dir, { recursive: true, force: true });
}

const run = promisify(execFile);

async function mebibytes(dir: string, signal: AbortSignal): Promise<number> {
  const { stdout } = await run('du', ['-s', '--block-size=1', dir], { signal });
  return Number(stdout.split('\t')[0]) / 1024 ** 2;
}

/** A time says something only when what came back is what went in. */
async function same(left: string, right: string, signal: AbortSignal): Promise<void> {
  await run('cmp', [left, right], { signal }).catch((cause: unknown) => {
    throw new Error(`${basename(right)} differs from ${basename(left)}; its times say nothing.`, { cause });
  });
}

function last(times: Side): string {
  const seconds = (values: number[]) => (values.length === 0 ? '-' : `${values.at(-1)!.toFixed(2)} s`);
  return `${seconds(times.first)} first, ${seconds(times.second)} second, ${seconds(times.restore)} restore, ${times.storedMiB.at(-1)?.toFixed(0)} MiB`;
}
