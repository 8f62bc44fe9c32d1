/** Run by packs.scale.test.ts: a node beside the index and the packs of a pool of very many chunks, which are made up as they are asked for. */
import { createCipheriv } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import type { Backend } from '../../src/backend.ts';
import { createMemoryBackend } from '../../src/memory/backend.ts';
import { gcHead, gcStep } from '../../src/packs/gc/chain.ts';
import { CollectionView } from '../../src/packs/gc/collection-view.ts';
import { deletingKey } from '../../src/packs/gc/keys.ts';
import { NameList } from '../../src/packs/gc/name-list.ts';
import { Snapshot } from '../../src/packs/gc/snapshot.ts';
import { IndexCache } from '../../src/packs/index-cache.ts';

const CHUNKS = Number(process.argv[2]);
const ENTRIES = 65_536;
const CHUNKS_A_PACK = 48;
const PACKS = Math.ceil(ENTRIES / CHUNKS_A_PACK);
const OBJECTS = Math.ceil(CHUNKS / ENTRIES);
const signal = new AbortController().signal;

const ZEROS = Buffer.alloc((ENTRIES + PACKS) * 32);

/** Bytes that part and place decide, as random as a hash. */
function stream(part: number, place: number, length: number): Buffer {
  const counter = Buffer.alloc(16);
  counter.writeUInt32BE(place * 2, 12);
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, part + 1).fill(part >>> 8, 0, 4), counter);
  return cipher.update(ZEROS.subarray(0, length));
}

/** Places of packs lie behind those of the chunks. */
const chunkOf = (part: number, i: number): Buffer => stream(part, i, 32);
const packOf = (part: number, i: number): Buffer => stream(part, ENTRIES + i, 32);
const absent = (i: number): Buffer => stream(80_000, i, 32);

/** Its bytes, without an object for each entry: what is measured is the node. */
function indexObject(part: number): Buffer {
  const names = stream(part, 0, (ENTRIES + PACKS) * 32);
  const bytes = Buffer.allocUnsafeSlow(24 + PACKS * 36 + ENTRIES * 44 + 4).fill(0, 0, 24);
  bytes.write('OSINDEX1', 'latin1');
  bytes.writeUInt32LE(PACKS, 8);
  bytes.writeUInt32LE(ENTRIES, 12);
  let at = 24;
  for (let pack = 0; pack < PACKS; pack++, at += 36) {
    names.copy(bytes, at, (ENTRIES + pack) * 32, (ENTRIES + pack + 1) * 32);
    bytes.writeUInt32LE(32 * 1024 ** 2, at + 32);
  }
  for (let i = 0; i < ENTRIES; i++, at += 44) {
    names.copy(bytes, at, i * 32, (i + 1) * 32);
    bytes.writeUInt32LE(Math.floor(i / CHUNKS_A_PACK), at + 32);
    bytes.writeUInt32LE(32 + (i % CHUNKS_A_PACK) * 600_000, at + 36);
    bytes.writeUInt32LE(600_000, at + 40);
  }
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, at)), at);
  return bytes;
}

function madeUp(): Backend {
  const part = (key: string): number => Number(key.slice(-6));
  return {
    ...pick(createMemoryBackend()),
    async *list(prefix) {
      if (prefix === 'index/') {
        for (let i = 0; i < OBJECTS; i++)
          yield { key: `index/${'1'.padStart(16, '0')}-b-${String(i).padStart(6, '0')}`, size: 44 * ENTRIES };
      }
      if (prefix === 'packs/') {
        for (let i = 0; i < OBJECTS; i++) {
          for (let pack = 0; pack < PACKS; pack++) yield { key: `packs/00/${packOf(i, pack).toString('hex')}`, size: 1024 };
        }
      }
    },
    get: async (key) => indexObject(part(key)),
  };
}

function pick(backend: Backend): Backend {
  return { ...backend, name: 'made up', fencing: 'strict', bytesSent: 0 } as Backend;
}

/** MiB that were resident at most. Not `maxRSS`: the kernel counts in it what the process that started this one had. */
function peak(): number {
  return Math.round(Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024);
}

const dir = mkdtempSync(join(tmpdir(), 'openservice-scale-'));
const times: Record<string, number> = {};
const peaks: Record<string, number> = {};
/** ms of processor time: other work on the machine does not count. */
async function timed(what: string, work: () => void | Promise<void>): Promise<void> {
  const start = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(start);
  times[what] = Math.round((user + system) / 1000);
  peaks[what] = peak();
}

try {
  const backend = madeUp();
  const cache = IndexCache.open(join(dir, 'index.sqlite'));
  await timed('sync', () => cache.sync(backend, signal));
  await timed('syncAgain', () => cache.sync(backend, signal));
  let [found, wrong] = [0, 0];
  await timed('lookups', () => {
    for (let i = 0; i < 50_000; i++) {
      const [part, entry] = [i % OBJECTS, (i * 7919) % ENTRIES];
      const hit = cache.chunk(chunkOf(part, entry));
      if (hit === null) continue;
      found++;
      const place = 32 + (entry % CHUNKS_A_PACK) * 600_000;
      const pack = cache.pack(hit.pack);
      if (hit.offset !== place || !pack?.name.equals(packOf(part, Math.floor(entry / CHUNKS_A_PACK)))) wrong++;
    }
  });
  await timed('misses', () => {
    for (let i = 0; i < 50_000; i++) if (cache.chunk(absent(i)) !== null) wrong++;
  });
  cache.close();

  let condemned = 0;
  await timed('snapshot', async () => {
    const snapshot = await Snapshot.take(backend, dir, signal);
    for (let part = 0; part < OBJECTS; part += 2) for (let pack = 0; pack < PACKS; pack++) snapshot.mark(packOf(part, pack), 1);
    for (let count = -1; count !== 0; condemned += count) {
      count = snapshot.condemn(65_536).count;
      snapshot.sentence(2);
    }
    snapshot.close();
  });

  const names = (count: number): NameList => {
    const bytes = Buffer.concat([0, 1].map((half) => stream(69_999 + half, 0, count * 16)));
    const all = Array.from({ length: count }, (_, i) => bytes.subarray(i * 32, (i + 1) * 32)).sort((a, b) => a.compare(b));
    return new NameList(Buffer.concat(all));
  };
  const store = createMemoryBackend();
  const list = names(100_000);
  for (let round = 1; round <= 16; round++) await store.put(deletingKey(round, 'aa'), list.encode(), signal);
  await gcStep(store, await gcHead(store, signal), { round: 16, state: 'idle', jobId: 'gc', list: '' }, signal);
  const view = await CollectionView.open(store, signal);
  if (!view.isVoid(list.at(7)) || view.isVoid(absent(1))) wrong++;

  const peakMiB = peak();
  process.stdout.write(`${JSON.stringify({ found, wrong, condemned, packs: OBJECTS * PACKS, peakMiB, peaks, times })}\n`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
