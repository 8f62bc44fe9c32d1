/** Blocks as live disks, through the whole stack, beside NBD servers of the same image. */
import { existsSync } from 'node:fs';
import { link, mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { denseImage, imageIn, spreadImage } from '../dense-image.ts';
import { imageFor } from '../images.ts';
import { type Lab, NODE_ID, settle, timeProgram, warm } from '../lab.ts';
import { withPeak } from '../memory.ts';
import { fio, missingNbdPrograms, type NbdPeer, nbdkitCow, qemuNbd, readStart, readWhole } from '../peers/nbd.ts';
import { limitRow, type Row, ratioRow, skippedRow } from '../row.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const TIB = 1024 ** 4;
const SECONDS = 5;
const DENSE_BYTES = 1.25 * GIB;
/** A node's cache as it comes is 64 MiB: this fits in, and that is ten times as much. */
const IN_CACHE_BYTES = 48 * MIB;
const TEN_CACHES_BYTES = 640 * MIB;
const FIRST_BYTE_LIMIT_S = 1.5;
const MEMORY_LIMIT_MIB = 500;
const MANY = 16;

export async function instancesBesideNbdServers(lab: Lab, repetitions: number): Promise<Row[]> {
  const why = await missingNbdPrograms(lab.say, lab.signal);
  if (why !== null) return [skippedRow({ name: 'instances', unit: '-' }, why)];
  const image = await imageFor(lab, 'disk-4g', 4 * GIB, 1.2 * GIB);
  const dense = await importable(lab, 'dense', (path) => denseImage(image.path, path, DENSE_BYTES, lab.signal));
  const qcow2 = await compressed(lab, 'dense', dense);
  const sockets = await mkdtemp(join(tmpdir(), 'openservice-bench-'));
  try {
    return [
      ...(await randomReads(lab, repetitions, sockets, dense, qcow2)),
      ...(await writes(lab, repetitions, sockets, dense)),
      ...(await wholeDisk(lab, repetitions, sockets, image.path, await compressed(lab, 'disk-4g', image.path))),
      ...(await firstByte(lab, repetitions, image.path)),
    ];
  } finally {
    await rm(sockets, { recursive: true, force: true });
  }
}

async function randomReads(lab: Lab, repetitions: number, sockets: string, dense: string, qcow2: string): Promise<Row[]> {
  const { size } = await stat(dense);
  const hot = { size: Math.min(size, 512 * MIB), seconds: SECONDS };
  const cached = { size: IN_CACHE_BYTES, seconds: SECONDS };
  const cold = { size: Math.min(size, TEN_CACHES_BYTES), seconds: SECONDS };
  const local = await loaded(lab, (await lab.import((await lab.localPool()).id, dense)).blockId);
  const dedup = await loaded(lab, (await lab.import((await lab.dedupPool()).id, dense)).blockId);
  const raw: NbdPeer = await qemuNbd(join(sockets, 'raw'), 'raw', dense);
  const packed = await qemuNbd(join(sockets, 'qcow2'), 'qcow2', qcow2);
  const rates = { hot: pair(), cached: pair(), cold: pair() };
  try {
    await warm(dense);
    await warm(qcow2);
    await readWhole(local.uri, lab.signal);
    for (let i = 0; i < repetitions; i++) {
      await fio(dedup.uri, 'randread', { ...cached, seconds: 2 }, lab.signal);
      rates.cached.ours.push(await fio(dedup.uri, 'randread', cached, lab.signal));
      rates.cached.peer.push(await fio(raw.uri, 'randread', cached, lab.signal));
      rates.hot.ours.push(await fio(local.uri, 'randread', hot, lab.signal));
      rates.hot.peer.push(await fio(raw.uri, 'randread', hot, lab.signal));
      rates.cold.ours.push(await fio(dedup.uri, 'randread', cold, lab.signal));
      rates.cold.peer.push(await fio(packed.uri, 'randread', cold, lab.signal));
      lab.say(
        `  reads ${i + 1}/${repetitions}: local ${shown(rates.hot)}, cached ${shown(rates.cached)}, cold ${shown(rates.cold)}`,
      );
    }
  } finally {
    await raw.stop();
    await packed.stop();
  }
  await local.remove();
  await dedup.remove();
  return [
    atLeast('random reads, local, hot', rates.hot, 1.2, 'peer: qemu-nbd raw'),
    atLeast('random reads, dedup, in the cache', rates.cached, 1, 'peer: qemu-nbd raw'),
    atLeast('random reads, dedup, cache a tenth', rates.cold, 1.2, 'peer: qemu-nbd, compressed qcow2'),
  ];
}

async function writes(lab: Lab, repetitions: number, sockets: string, dense: string): Promise<Row[]> {
  const part = { size: (await stat(dense)).size, seconds: SECONDS };
  const rates = pair();
  const { blockId } = await lab.import((await lab.localPool()).id, dense);
  for (let i = 0; i < repetitions; i++) {
    const ours = await loaded(lab, blockId);
    await settle(lab.signal);
    rates.ours.push(await fio(ours.uri, 'randwrite', part, lab.signal));
    await ours.remove();
    const cow = await nbdkitCow(join(sockets, 'cow'), dense);
    try {
      await settle(lab.signal);
      rates.peer.push(await fio(cow.uri, 'randwrite', part, lab.signal));
    } finally {
      await cow.stop();
    }
    lab.say(`  writes ${i + 1}/${repetitions}: ${shown(rates)}`);
  }
  return [atLeast('random writes into the overlay', rates, 1, 'peer: nbdkit --filter=cow file')];
}

async function wholeDisk(lab: Lab, repetitions: number, sockets: string, image: string, qcow2: string): Promise<Row[]> {
  const times = pair();
  const { blockId } = await lab.import((await lab.dedupPool()).id, image);
  const packed = await qemuNbd(join(sockets, 'whole'), 'qcow2', qcow2);
  try {
    await warm(qcow2);
    for (let i = 0; i < repetitions; i++) {
      const ours = await loaded(lab, blockId);
      times.ours.push(await readWhole(ours.uri, lab.signal));
      await ours.remove();
      times.peer.push(await readWhole(packed.uri, lab.signal));
      lab.say(
        `  whole disk ${i + 1}/${repetitions}: ours ${times.ours[i]!.toFixed(2)} s, qemu-nbd ${times.peer[i]!.toFixed(2)} s`,
      );
    }
  } finally {
    await packed.stop();
  }
  const note = 'nbdcopy to null:; peer: qemu-nbd, compressed qcow2';
  return [ratioRow({ name: 'whole disk, dedup', unit: 's', note }, times.ours, times.peer, 0.8)];
}

/** From PUT to the first byte, straight from S3; and what many of the largest cost in memory. */
async function firstByte(lab: Lab, repetitions: number, image: string): Promise<Row[]> {
  const rows: Row[] = [];
  const seconds: Record<string, number[]> = {};
  let peak = 0;
  for (const [name, whole] of [
    ['1 TiB', TIB],
    ['16 GiB', 16 * GIB],
  ] as const) {
    const path = await importable(lab, `spread-${whole / GIB}g`, (to) => spreadImage(image, to, GIB, whole, lab.signal));
    const { blockId } = await lab.import(await lab.s3Pool(), path);
    seconds[name] = [];
    for (let i = 0; i < Math.max(3, repetitions); i++) {
      const since = performance.now();
      const instance = await loaded(lab, blockId);
      await readStart(instance.uri, lab.signal);
      seconds[name].push((performance.now() - since) / 1000);
      await instance.remove();
    }
    rows.push(limitRow({ name: `PUT to first byte, ${name} on S3`, unit: 's' }, Math.max(...seconds[name]), FIRST_BYTE_LIMIT_S));
    if (whole === TIB) {
      const many = await withPeak(lab, async () => {
        const all = [];
        for (let i = 0; i < MANY; i++) all.push(await loaded(lab, blockId));
        await Promise.all(all.map(({ uri }) => readStart(uri, lab.signal)));
        for (const one of all) await one.remove();
      });
      peak = many.peakMiB;
    }
  }
  return [...rows, limitRow({ name: `memory, ${MANY} instances of 1 TiB`, unit: 'MiB' }, peak, MEMORY_LIMIT_MIB)];
}

interface Pair {
  ours: number[];
  peer: number[];
}

const pair = (): Pair => ({ ours: [], peer: [] });

function shown({ ours, peer }: Pair): string {
  return `ours ${(ours.at(-1)! / 1000).toFixed(1)} k/s, peer ${(peer.at(-1)! / 1000).toFixed(1)} k/s`;
}

/** A rate: the ratio is ours ÷ peer, and must not be less than `least`. */
function atLeast(name: string, rates: Pair, least: number, note: string): Row {
  const row = ratioRow({ name, unit: '/s', note: `4 KiB, depth 32; ${note}` }, rates.ours, rates.peer, null);
  return { ...row, goal: `ratio >= ${least}`, ok: row.ratio !== null && row.ratio >= least };
}

async function loaded(lab: Lab, blockId: string): Promise<{ uri: string; remove: () => Promise<void> }> {
  const name = `bench-${process.hrtime.bigint().toString(36)}`;
  const answer = (await lab.api.request('PUT', '/cdm_instances', { block_id: blockId, node_id: NODE_ID, name })) as Record<
    string,
    string
  >;
  await lab.follow(answer['job-id']!);
  const { cdm_instance: instance } = (await lab.api.request('GET', `/cdm_instances/${answer['ins-id']}`)) as {
    cdm_instance: { id: string; disks: { unix_uri: string }[] };
  };
  return {
    uri: instance.disks[0]!.unix_uri,
    async remove() {
      const gone = (await lab.api.request('DELETE', `/cdm_instances/${instance.id}`)) as Record<string, string>;
      await lab.follow(gone['job-id']!);
    },
  };
}

/** An image that is made once, where the node may import it from. */
async function importable(lab: Lab, name: string, make: (path: string) => Promise<void>): Promise<string> {
  const kept = imageIn(lab.dir, name);
  await make(kept);
  const path = join(lab.imports, basename(kept));
  if (!existsSync(path)) await link(kept, path);
  return path;
}

/** The image as a compressed qcow2; made once. */
async function compressed(lab: Lab, name: string, image: string): Promise<string> {
  const path = join(lab.dir, 'images', `${name}.qcow2`);
  const done = await open(path, 'r').catch(() => null);
  await done?.close();
  if (done === null) {
    lab.say(`  compressing ${name} for the peer …`);
    await timeProgram('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', image, `${path}.part`], lab.signal);
    await timeProgram('mv', [`${path}.part`, path], lab.signal);
  }
  return path;
}
