/** What the product writes is what docs/format.md says: a reader that knows nothing but that document gives back the same bytes. */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import type { BlockMeta, Pool, WriteSession } from '@openservice/pools';
import { openPool } from '@openservice/pools';
import { expect } from 'chai';
import { chunkBytes, count, fill, rootOf, type TestBlock } from './conformance/content.ts';
import { readFooter, readIndex } from './independent-index.ts';
import { readRaw } from './independent-raw-reader.ts';
import { blocksOf, openIndependently } from './independent-reader.ts';

const KIB = 1024;
const signal = new AbortController().signal;
/** Holes at both ends, and an odd end. */
const DISK: TestBlock = { size: 40 * 64 * KIB + 777, chunkSize: 64 * KIB, data: new Set([1, 2, 7, 8, 20, 33, 40]) };
/** Shares chunks 2, 7 and 8 with it. */
const RELATED: TestBlock = { size: 30 * 64 * KIB, chunkSize: 64 * KIB, data: new Set([2, 7, 8, 11, 25]) };
/** Three segments: data in the first and the last, holes in all of the middle. */
const LONG: TestBlock = { size: 9000 * 4 * KIB - 1, chunkSize: 4 * KIB, data: new Set([0, 4095, 8192, 8193, 8999]) };
const HOLES: TestBlock = { size: 5 * 64 * KIB, chunkSize: 64 * KIB, data: new Set() };
const META: BlockMeta = {
  name: 'web-1',
  set_id: null,
  set_name: null,
  parent_block_id: null,
  created_at: '2026-11-24T00:00:00Z',
};

function bytesOf(block: TestBlock): Buffer {
  return Buffer.concat(Array.from({ length: count(block) }, (_, index) => chunkBytes(block, index)));
}

function byPlace(a: { pack: string; offset: number }, b: { pack: string; offset: number }): number {
  return a.pack === b.pack ? a.offset - b.offset : a.pack < b.pack ? -1 : 1;
}

async function filesUnder(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

describe('docs/format.md', function () {
  this.timeout(60_000);
  let workers: ChunkWorkers;
  let fences = 0;
  before(() => {
    workers = createChunkWorkers({ threads: 2 });
  });
  after(() => workers.close());

  const sessionOf = (blockId: string, block: TestBlock): WriteSession => {
    const { size, chunkSize } = block;
    return {
      blockId,
      size,
      chunkSize,
      jobId: `job-of-${blockId}`,
      attempt: 1,
      fence: ++fences,
      meta: { ...META, name: blockId },
    };
  };
  const store = async (pool: Pool, blockId: string, block: TestBlock): Promise<void> => {
    const writer = await pool.openWriter(sessionOf(blockId, block), signal);
    await fill(writer, block);
    await writer.commit(signal);
    await writer.close();
  };

  for (const poolKey of [null, randomBytes(32).toString('hex')]) {
    describe(`of ${poolKey === null ? 'a packs pool' : 'an encrypted packs pool'} is enough to`, () => {
      let root: string;
      let pool: Pool;

      beforeEach(async () => {
        root = await mkdtemp(join(tmpdir(), 'openservice-format-'));
        const id = `pool-${randomUUID()}`;
        const path = join(root, 'pool');
        pool = openPool({ id, type: 'dedup', node_id: 'node-1', path, encryption_key: poolKey }, { workers });
        root = path;
        await pool.probe({ create: true }, signal);
      });
      afterEach(async () => {
        await pool.close();
        await rm(join(root, '..'), { recursive: true });
      });

      const expectReads = (blockId: string, block: TestBlock): void => {
        const { bytes, rootDigest } = openIndependently(root, poolKey).read(blockId);
        expect(bytes.equals(bytesOf(block)), `the bytes of ${blockId}`).to.equal(true);
        expect(rootDigest.equals(rootOf(block)), `the root digest of ${blockId}`).to.equal(true);
      };
      const expectRefused = (blockId: string, why: string): void => {
        expect(() => openIndependently(root, poolKey).read(blockId), why).to.throw();
      };
      const clone = async (from: string, blockId: string): Promise<void> => {
        const writer = await pool.openClone(from, sessionOf(blockId, DISK), signal);
        if (writer === null) throw new Error('a packs pool makes copies without moving data');
        await writer.commit(signal);
        await writer.close();
      };

      it('read blocks that share chunks, have holes, an odd end and many segments, and a copy', async () => {
        await store(pool, 'disk', DISK);
        await store(pool, 'related', RELATED);
        await store(pool, 'long', LONG);
        await store(pool, 'holes', HOLES);
        await clone('disk', 'twin');
        for (const [blockId, block] of Object.entries({ disk: DISK, related: RELATED, long: LONG, holes: HOLES, twin: DISK }))
          expectReads(blockId, block);
      });

      it('list all blocks with what the center knew of them, from the pool alone', async () => {
        await store(pool, 'disk', DISK);
        await store(pool, 'binned', RELATED);
        await store(pool, 'gone', RELATED);
        await pool.openWriter(sessionOf('half', DISK), signal).then((writer) => writer.close());
        await pool.trash('binned', ++fences, signal);
        await pool.remove('gone', ++fences, signal);
        const blocks = openIndependently(root, poolKey).blocks();
        expect(blocks.map(({ blockId, state }) => [blockId, state])).to.deep.equal([
          ['binned', 'trashed'],
          ['disk', 'committed'],
          ['gone', 'removed'],
          ['half', 'open'],
        ]);
        expect(blocks[0]!.detail.meta).to.deep.equal({ ...META, name: 'binned' });
        expectReads('binned', RELATED);
        await pool.untrash('binned', ++fences, signal);
        expectReads('binned', RELATED);
      });

      it('read the record that was put for a damaged place, for every block that shares it', async () => {
        await store(pool, 'disk', DISK);
        const [path] = (await filesUnder(root, 'packs')) as [string];
        await store(pool, 'related', RELATED);
        const pack = await readFile(path);
        // The second entry of the footer is chunk 2, which both blocks have.
        const entry = pack.length - 24 - 48 * pack.readUInt32LE(pack.length - 12) + 48;
        const end = pack.readUInt32LE(entry + 32) + pack.readUInt32LE(entry + 36);
        pack[end - 10]! ^= 0x10;
        await writeFile(path, pack);
        expectRefused('disk', 'a pack with a flipped byte');
        await pool.repair('disk', 2, null, signal);
        expectRefused('disk', 'a place that is marked and not mended');
        await pool.repair('disk', 2, chunkBytes(DISK, 2), signal);
        expectReads('disk', DISK);
        expectReads('related', RELATED);
        await truncate(path, end - 10);
        expectRefused('disk', 'a pack that was cut, mended at one place only');
      });

      it('read what stays after a collection', async () => {
        await store(pool, 'gone', LONG);
        await store(pool, 'disk', DISK);
        await store(pool, 'related', RELATED);
        await clone('disk', 'twin');
        await pool.remove('disk', ++fences, signal);
        await pool.remove('gone', ++fences, signal);
        const before = (await filesUnder(root, 'packs')).length;
        const report = await pool.collect({ jobId: 'job-of-gc' }, signal);
        expect(report.removedObjects).to.be.greaterThan(0);
        expect((await filesUnder(root, 'packs')).length).to.be.lessThan(before);
        expectReads('related', RELATED);
        expectReads('twin', DISK);
        expectRefused('disk', 'a removed block');
        await store(pool, 'later', LONG);
        expectReads('later', LONG);
      });

      it('find every chunk of every pack by the index, which says what the footers say', async () => {
        await store(pool, 'disk', DISK);
        await store(pool, 'related', RELATED);
        const { object } = openIndependently(root, poolKey);
        const named = (await readdir(join(root, 'index')))
          .map((name) => readIndex(object(`index/${name}`)))
          .flatMap(({ packs, entries }) =>
            entries.map(({ pack, ...rest }) => ({ pack: packs[pack]!.name, size: packs[pack]!.size, ...rest })),
          );
        const stored = (await filesUnder(root, 'packs')).flatMap((path) => {
          const bytes = readFileSync(path);
          return readFooter(bytes).map((entry) => ({ pack: basename(path), size: bytes.length, ...entry }));
        });
        expect(stored).to.have.length(DISK.data.size + RELATED.data.size - 3);
        expect(named.sort(byPlace)).to.deep.equal(stored.sort(byPlace));
      });

      it('refuse a byte changed anywhere in what a block needs', async () => {
        const block: TestBlock = { size: 3 * 4 * KIB - 5, chunkSize: 4 * KIB, data: new Set([0, 2]) };
        await store(pool, 'small', block);
        expectReads('small', block);
        const sealed = poolKey === null ? [] : await filesUnder(root, 'blocks/small/ledger');
        const manifests = (await filesUnder(root, 'blocks/small')).filter((path) => path.endsWith('/manifest'));
        const live = [...(await filesUnder(root, 'packs')), ...(await filesUnder(root, 'segments')), ...manifests];
        expect(live).to.have.length(4);
        // Of the ledger only the last entry counts.
        for (const path of [...live, ...sealed.sort().slice(-1)]) {
          const good = await readFile(path);
          for (let at = 0; at < good.length; at += at < 120 || at > good.length - 120 ? 1 : 67) {
            const bad = Buffer.from(good);
            bad[at]! ^= 0xff;
            await writeFile(path, bad);
            expectRefused('small', `byte ${at} of ${path} changed`);
          }
          await writeFile(path, good);
          await truncate(path, good.length - 1);
          expectRefused('small', `${path} cut by a byte`);
          await writeFile(path, good);
          await rename(path, `${path}.away`);
          expectRefused('small', `${path} is missing`);
          await rename(`${path}.away`, path);
        }
        expectReads('small', block);
      });

      it('refuse another key', async () => {
        await store(pool, 'disk', DISK);
        const other = randomBytes(32).toString('hex');
        expect(() => openIndependently(root, other)).to.throw('refused');
        if (poolKey !== null) expect(() => openIndependently(root)).to.throw('refused');
        const mark = JSON.parse(await readFile(join(root, 'pool.json'), 'utf8'));
        if (poolKey === null) mark.digest_key = other;
        else mark.encryption.key_check = other.slice(0, 32);
        await writeFile(join(root, 'pool.json'), JSON.stringify(mark));
        expectRefused('disk', 'a pool.json of another key');
      });
    });
  }

  describe('of a raw pool is enough to', () => {
    let root: string;
    let pool: Pool;

    beforeEach(async () => {
      root = await mkdtemp(join(tmpdir(), 'openservice-format-'));
      pool = openPool({ id: `pool-${randomUUID()}`, type: 'local', node_id: 'node-1', path: root }, { workers });
      await pool.probe({ create: true }, signal);
      await store(pool, 'disk', DISK);
      await store(pool, 'long', LONG);
    });
    afterEach(async () => {
      await pool.close();
      await rm(root, { recursive: true });
    });

    it('read its blocks, in the trash and out of it, and list them', async () => {
      await pool.trash('long', ++fences, signal);
      expect(blocksOf(root).map(({ blockId, state }) => [blockId, state])).to.deep.equal([
        ['disk', 'committed'],
        ['long', 'trashed'],
      ]);
      expect(blocksOf(root)[1]!.detail.meta).to.deep.equal({ ...META, name: 'long' });
      for (const [blockId, block] of [['disk', DISK] as const, ['long', LONG] as const]) {
        const { bytes, rootDigest } = readRaw(root, blockId);
        expect(bytes.equals(bytesOf(block))).to.equal(true);
        expect(rootDigest.equals(rootOf(block))).to.equal(true);
      }
    });

    it('refuse a byte changed in the image or its digests', async () => {
      for (const name of ['disk.raw', 'digests']) {
        const path = join(root, 'blocks/disk', name);
        const good = await readFile(path);
        for (let at = 0; at < good.length; at += Math.ceil(good.length / 50)) {
          const bad = Buffer.from(good);
          bad[at]! ^= 0xff;
          await writeFile(path, bad);
          expect(() => readRaw(root, 'disk'), `byte ${at} of ${name} changed`).to.throw('refused');
        }
        await writeFile(path, good);
      }
      expect(readRaw(root, 'disk').rootDigest.equals(rootOf(DISK))).to.equal(true);
    });
  });
});
