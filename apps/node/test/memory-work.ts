/**
 * What a node does with large images, in one process, through the real handlers. Prints the most memory that was ever resident, in
 * KiB, as the kernel counted it.
 */
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import '@openservice/agent';
import { createChunkWorkers } from '@openservice/codec';
import { newId } from '@openservice/domain';
import { createFsBackend, createPacksPool, openPool, type Pool } from '@openservice/pools';
import { jobParams } from '@openservice/protocol';
import { createLog } from '@openservice/runtime';
import { ByteLimits } from '../src/byte-limits.ts';
import { ContentStore } from '../src/content/content-store.ts';
import { ImportRoots } from '../src/import-roots.ts';
import { makeHandlers } from '../src/jobs/all.ts';
import { Instances } from '../src/mounts/instances.ts';
import { contextOf, HandCenter } from './jobs-bench.ts';

const MIB = 1024 * 1024;
const CHUNK = MIB;
const never = new AbortController().signal;

const dir = process.argv[2];
if (dir === undefined) throw new Error('usage: memory-run.ts DIRECTORY');
const workers = createChunkWorkers({ threads: 2 });
const [local, packs, dedup] = [newId('pool'), newId('pool'), newId('pool')];
for (const name of ['local', 'packs', 'dedup']) await mkdir(join(dir, name));
const cacheDir = join(dir, 'cache');
const place = { node_id: 'node-1', encryption_key: null };
const pools = new Map<string, Pool>([
  [local, openPool({ id: local, type: 'local', node_id: 'node-1', path: join(dir, 'local') }, { workers })],
  [packs, createPacksPool({ id: packs, backend: createFsBackend(join(dir, 'packs')), workers, cacheDir })],
  [dedup, openPool({ id: dedup, type: 'dedup', ...place, path: join(dir, 'dedup') }, { workers, cacheDir })],
]);
for (const pool of pools.values()) await pool.probe({ create: true }, never);
const instances = new Instances({
  directory: join(dir, 'instances'),
  socket: join(dir, 'nbd.sock'),
  tcp: { host: '127.0.0.1', port: 0 },
  advertise: '127.0.0.1',
  cacheBytes: 16 * 1024 * 1024,
  pool: async (id) => pools.get(id) ?? Promise.reject(new Error(`no pool ${id}`)),
  log: createLog({ name: 'memory', level: 'silent' }),
});
const handlers = makeHandlers({
  limits: new ByteLimits(),
  instances,
  pools: {
    get: async (id) => {
      const pool = pools.get(id);
      if (pool === undefined) throw new Error(`no pool ${id}`);
      return pool;
    },
  },
  importRoots: new ImportRoots([dir]),
  workers,
  center: new HandCenter(),
  content: new ContentStore(join(dir, 'content')),
  scratchDir: dir,
});

/** `data` MiB that no two chunks share and zstd shrinks to about a half, every second MiB a hole; the rest of `size` is one too. */
async function makeImage(path: string, size: number, data: number): Promise<void> {
  const chunk = Buffer.alloc(CHUNK, 'what compresses well, ');
  let seed = 1;
  for (let at = 0; at < CHUNK; at += 8) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    chunk.writeUInt32LE(seed, at);
  }
  const handle = await open(path, 'w');
  await handle.truncate(size);
  for (let i = 0; i < data; i++) {
    for (let at = 0; at < CHUNK; at += 4096) chunk.writeUInt32LE(i, at);
    await handle.write(chunk, 0, CHUNK, i * 2 * CHUNK);
  }
  await handle.close();
}

async function importOf(name: string, size: number, data: number) {
  const path = join(dir as string, name);
  await makeImage(path, size, data);
  return await importFile(path, size, local);
}

async function importFile(path: string, size: number, poolId: string) {
  const id = newId('block');
  const source = { type: 'file' as const, node_id: 'node-1', path };
  const result = await handlers.import.run(
    contextOf(jobParams.import.parse({ block_id: id, size, chunk_size: CHUNK, pool_id: poolId, source })),
  );
  return { id, size, chunk_size: CHUNK, root_digest: result.root_digest ?? '' };
}

await importOf('sparse.img', 256 * 1024 * MIB, 16);
const block = await importOf('disk.img', 1024 * MIB, 300);
await handlers.upload.run(contextOf({ block, from_pool_id: local, pool_id: packs }));
// Both ways into a dedup pool, and through its collection: what it has grown to must not show.
await importFile(join(dir, 'disk.img'), block.size, dedup);
await handlers.upload.run(contextOf({ block, from_pool_id: local, pool_id: dedup }));
await handlers.gc.run(contextOf({ pool_id: dedup }));
const verified = await handlers.verify.run(contextOf(jobParams.verify.parse({ block, pool_ids: [local, packs, dedup] })));
const target = { type: 'file' as const, node_id: 'node-1', path: join(dir, 'back.img') };
const restored = await handlers.restore.run(contextOf(jobParams.restore.parse({ block, from_pool_id: packs, target })));

for (const pool of pools.values()) await pool.close();
await workers.close();
const status = await readFile('/proc/self/status', 'utf8');
const most = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]);
process.stdout.write(`${JSON.stringify({ most, verified: verified.verified, restored: restored.progress })}\n`);
