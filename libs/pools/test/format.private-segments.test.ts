/** Pools from before segments were shared: their blocks are read, copied in full and outlive a collection (docs/format.md, Segments). */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { blake3 } from '@napi-rs/blake-hash';
import { crc32c } from '@node-rs/crc32';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { openPool, type Pool } from '@openservice/pools';
import { expect } from 'chai';
import { chunkBytes, count, digestOf, fill, rootOf, type TestBlock } from './conformance/content.ts';
import { HOLE, openIndependently } from './independent-reader.ts';

const KIB = 1024;
const signal = new AbortController().signal;
const DISK: TestBlock = { size: 9000 * 4 * KIB - 1, chunkSize: 4 * KIB, data: new Set([0, 4095, 8192, 8193, 8999]) };

/** Makes the block's manifest and segments what an older version wrote of it. */
async function makePrivate(root: string, blockId: string): Promise<void> {
  const attempt = join(root, 'blocks', blockId, '0000000000000001');
  const manifest = (await readFile(join(attempt, 'manifest'))).subarray(0, -4);
  manifest.writeUInt32LE(0, 8);
  for (let at = 88; at < manifest.length; at += 32) {
    const name = manifest.subarray(at, at + 32);
    if (name.equals(HOLE)) continue;
    const kind = (at - 88) % 64 === 0 ? 'segments' : 'locations';
    const shared = zstdDecompressSync(await readFile(pathOf(join(root, 'segments'), name)));
    const plain = kind === 'segments' ? shared.subarray(24) : Buffer.concat([Buffer.from('OSLOCAT1'), shared.subarray(24)]);
    blake3(plain).copy(name);
    const path = pathOf(join(attempt, kind), name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, zstdCompressSync(plain));
  }
  const crc = Buffer.alloc(4);
  crc.writeUInt32LE(crc32c(manifest));
  await writeFile(join(attempt, 'manifest'), Buffer.concat([manifest, crc]));
}

function pathOf(folder: string, name: Buffer): string {
  const hex = name.toString('hex');
  return join(folder, hex.slice(0, 2), hex);
}

describe('a pool from before segments were shared', function () {
  this.timeout(30_000);
  let workers: ChunkWorkers;
  let root: string;
  let pool: Pool;

  beforeEach(async () => {
    workers = createChunkWorkers({ threads: 1 });
    root = await mkdtemp(join(tmpdir(), 'openservice-private-'));
    const path = join(root, 'pool');
    const id = `pool-${randomUUID()}`;
    pool = openPool({ id, type: 'dedup', node_id: 'node-1', path, encryption_key: null }, { workers });
    root = path;
    await pool.probe({ create: true }, signal);
    const writer = await pool.openWriter(session('disk', 1), signal);
    await fill(writer, DISK);
    await writer.commit(signal);
    await writer.close();
    await makePrivate(root, 'disk');
    await rm(join(root, 'segments'), { recursive: true });
    await rm(join(root, 'index'), { recursive: true });
  });
  afterEach(async () => {
    await pool.close();
    await workers.close();
    await rm(dirname(root), { recursive: true });
  });

  const session = (blockId: string, fence: number) => {
    const { size, chunkSize } = DISK;
    return { blockId, size, chunkSize, jobId: `job-of-${blockId}`, attempt: 1, fence };
  };
  const expectContent = async (blockId: string): Promise<void> => {
    const reader = await pool.openReader(blockId, signal);
    const chunk = Buffer.alloc(DISK.chunkSize);
    for (const index of DISK.data) {
      const wanted = chunkBytes(DISK, index);
      expect((await reader.readChunk(index, chunk, signal)).equals(digestOf(wanted))).to.equal(true);
      expect(chunk.subarray(0, wanted.length).equals(wanted)).to.equal(true);
    }
    await reader.close();
    const { bytes, rootDigest } = openIndependently(root).read(blockId);
    expect(bytes.equals(Buffer.concat(Array.from({ length: count(DISK) }, (_, i) => chunkBytes(DISK, i))))).to.equal(true);
    expect(rootDigest.equals(rootOf(DISK))).to.equal(true);
  };

  it('is read, by the product and by the independent reader', async () => {
    await expectContent('disk');
  });

  it('keeps all that its blocks name in a collection, which gives it an index', async () => {
    const { removedObjects, damaged } = await pool.collect({ jobId: 'job-of-gc' }, signal);
    expect({ removedObjects, damaged }).to.deep.equal({ removedObjects: 0, damaged: [] });
    await expectContent('disk');
    // What the index made of its packs is found: nothing is stored twice.
    const packs = await readdir(join(root, 'packs'));
    const writer = await pool.openWriter(session('again', 2), signal);
    const wanted = [...DISK.data].map((index) => digestOf(chunkBytes(DISK, index)));
    expect(await writer.missing(wanted)).to.deep.equal(wanted.map(() => false));
    await fill(writer, DISK);
    await writer.commit(signal);
    await writer.close();
    expect(await readdir(join(root, 'packs'))).to.deep.equal(packs);
    await expectContent('again');
  });

  it('does not lend its segments to a copy, and gives up its packs when the block is removed', async () => {
    expect(await pool.openClone('disk', session('copy', 2), signal)).to.equal(null);
    await pool.remove('disk', 3, signal);
    await pool.collect({ jobId: 'job-of-gc' }, signal);
    expect(await readdir(root)).to.not.include('packs');
  });
});
