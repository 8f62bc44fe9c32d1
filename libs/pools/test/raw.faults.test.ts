import { open, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import { expect } from 'chai';
import { chunkBytes, count, fill, putChunk, type TestBlock } from './conformance/content.ts';
import { codeOf, damagedChunks, expectContent, thrown } from './conformance/suite.ts';
import { cannotMount, type Mounted, mountTmpfs, mountXfs } from './support/mounts.ts';
import { RawPlace } from './support/raw-place.ts';

const KIB = 1024;
const MIB = KIB * KIB;
const signal = new AbortController().signal;
const BLOCK: TestBlock = { size: 40 * 64 * KIB + 99, chunkSize: 64 * KIB, data: new Set([0, 1, 7, 20, 39, 40]) };
/** Of the manifest's head; then 32 bytes a chunk. */
const HEAD_BYTES = 32;

describe('a local pool whose disk fails it', function () {
  this.timeout(30_000);
  let workers: ChunkWorkers;
  let place: RawPlace;
  before(() => {
    workers = createChunkWorkers({ threads: 1 });
  });
  after(() => workers.close());
  beforeEach(async () => {
    place = await RawPlace.make(workers);
    await place.store('block-1', BLOCK);
    await place.store('block-2', { ...BLOCK, seed: 1 });
  });
  afterEach(() => place.destroy());

  const whole = async (blockId: string, block: TestBlock, of = place): Promise<void> => {
    const reader = await of.pool.openReader(blockId, signal);
    await expectContent(reader, block);
    await reader.close();
  };

  it('finds a bit that flipped in the image, names that chunk and no other, and has it repaired', async () => {
    await place.flip('block-1', 'disk.raw', 7 * BLOCK.chunkSize + 1234);
    expect(await damagedChunks(place.pool, 'block-1', BLOCK)).to.deep.equal([7]);
    const reader = await place.pool.openReader('block-1', signal);
    const error = (await thrown(reader.read(7 * BLOCK.chunkSize, 10, signal))) as PermanentError;
    expect(error.code).to.equal('damaged_chunk');
    expect(error.message).to.include('Chunk 7 of block block-1');
    await reader.close();
    await whole('block-2', { ...BLOCK, seed: 1 });
    await place.pool.repair('block-1', 7, chunkBytes(BLOCK, 7), signal);
    await whole('block-1', BLOCK);
  });

  it('finds garbage where a chunk ends in zeros, and wipes it with the repair', async () => {
    await place.flip('block-1', 'disk.raw', 8 * BLOCK.chunkSize - 5);
    expect(await damagedChunks(place.pool, 'block-1', BLOCK)).to.deep.equal([7]);
    await place.pool.repair('block-1', 7, chunkBytes(BLOCK, 7), signal);
    await whole('block-1', BLOCK);
  });

  it('finds a bit that flipped among the digests, and has the digest repaired by the bytes that it was of', async () => {
    await place.flip('block-1', 'digests', HEAD_BYTES + 20 * 32 + 5);
    expect(await damagedChunks(place.pool, 'block-1', BLOCK)).to.deep.equal([20]);
    const wrong = chunkBytes({ ...BLOCK, seed: 9 }, 20);
    expect(await codeOf(place.pool.repair('block-1', 20, wrong, signal))).to.equal('digest_mismatch');
    await place.pool.repair('block-1', 20, chunkBytes(BLOCK, 20), signal);
    await whole('block-1', BLOCK);
  });

  it('brings back a digest that was wiped, so that its chunk passed for a hole', async () => {
    const handle = await open(place.inBlock('block-1', 'digests'), 'r+');
    await handle.write(Buffer.alloc(32), 0, 32, HEAD_BYTES + 39 * 32);
    await handle.close();
    expect(await codeOf(place.pool.repair('block-1', 38, chunkBytes(BLOCK, 39), signal)), 'a true hole').to.equal('out_of_range');
    await place.pool.repair('block-1', 39, chunkBytes(BLOCK, 39), signal);
    await whole('block-1', BLOCK);
  });

  for (const name of ['disk.raw', 'digests']) {
    it(`refuses a block whose ${name} was cut, and reads the others`, async () => {
      await truncate(place.inBlock('block-1', name), 500);
      const error = (await thrown(place.pool.openReader('block-1', signal))) as PermanentError;
      expect(error).to.be.instanceOf(PermanentError).with.property('code', 'damaged_manifest');
      expect(error.message).to.include('block-1');
      await whole('block-2', { ...BLOCK, seed: 1 });
      expect((await place.pool.stat('block-2', signal))?.size).to.equal(BLOCK.size);
    });
  }

  it('finds an image that is cut while it is read', async () => {
    const reader = await place.pool.openReader('block-1', signal);
    await truncate(place.inBlock('block-1', 'disk.raw'), 30 * BLOCK.chunkSize);
    const target = Buffer.alloc(BLOCK.chunkSize);
    await reader.readChunk(20, target, signal);
    expect(await codeOf(reader.readChunk(39, target, signal))).to.equal('damaged_chunk');
    await reader.close();
  });

  describe('on a small disk', () => {
    const reason = cannotMount('tmpfs');
    if (reason !== null) {
      it.skip(`a full disk, skipped: no tmpfs: ${reason}`);
      return;
    }
    let disk: Mounted;
    let small: RawPlace;
    beforeEach(async () => {
      disk = await mountTmpfs(5 * MIB);
      small = await RawPlace.make(workers, disk.path);
    });
    afterEach(async () => {
      await small?.destroy();
      await disk?.unmount();
    });
    const big: TestBlock = {
      size: 64 * 64 * KIB,
      chunkSize: 64 * KIB,
      data: new Set(Array.from({ length: 64 }, (_, i) => i)),
      seed: 3,
    };

    it('stays readable when it is full, and the job goes on where it was once there is room', async () => {
      await small.store('block-1', BLOCK);
      const filler = join(disk.path, 'filler');
      await writeFile(filler, Buffer.alloc(2 * MIB));
      const first = await small.pool.openWriter(small.session('block-2', big, 1), signal);
      let put = 0;
      const fillUp = async (): Promise<void> => {
        for (; put < count(big); put++) {
          await putChunk(first, big, put);
          await first.checkpoint(signal);
        }
      };
      expect(await codeOf(fillUp())).to.equal('no_space');
      expect(put).to.be.greaterThan(4);
      await first.close();
      await whole('block-1', BLOCK, small);
      expect(await small.pool.stat('block-2', signal)).to.equal(null);
      await rm(filler);
      const next = await small.pool.openWriter(small.session('block-2', big, 2), signal);
      for (let index = 0; index < put; index++) expect(next.has(index), `chunk ${index}`).to.equal(true);
      expect((await fill(next, big))[0]).to.equal(put);
      await next.prepare(signal);
      await next.commit(signal);
      await next.close();
      await whole('block-2', big, small);
    });

    it('can be freed when nothing more fits', async () => {
      await small.store('block-1', BLOCK);
      const writer = await small.pool.openWriter(small.session('block-2', big), signal);
      await thrown(writeFile(join(disk.path, 'filler'), Buffer.alloc(8 * MIB)));
      expect(await codeOf(fill(writer, big))).to.equal('no_space');
      await writer.abort(signal);
      await writer.close();
      await small.pool.remove('block-1', 2, signal);
      expect(await readdir(small.inBlock('block-1'))).to.deep.equal(['ledger']);
      await rm(join(disk.path, 'filler'));
      const report = await small.pool.collect({ jobId: 'job-gc' }, signal);
      expect(report).to.include({ liveBytes: 0, removedObjects: 0 });
      await small.store('block-1', BLOCK, 3);
      await whole('block-1', BLOCK, small);
    });
  });

  describe('with reflinks', () => {
    const reason = cannotMount('xfs');
    if (reason !== null) {
      it.skip(`clones, skipped: no XFS: ${reason}`);
      return;
    }
    let disk: Mounted;
    before(async () => {
      disk = await mountXfs();
    });
    after(() => disk?.unmount());

    it('refuses to clone a block whose digests are damaged, and leaves nothing of the copy', async () => {
      const xfs = await RawPlace.make(workers, disk.path);
      await xfs.store('block-1', BLOCK);
      await xfs.flip('block-1', 'digests', HEAD_BYTES + 5);
      const session = xfs.session('block-copy', BLOCK);
      expect(await codeOf(xfs.pool.openClone('block-1', session, signal))).to.equal('damaged_manifest');
      expect(await readdir(xfs.inBlock('block-copy'))).to.deep.equal(['ledger']);
      await xfs.destroy();
    });

    it('refuses to clone with another size', async () => {
      const xfs = await RawPlace.make(workers, disk.path);
      await xfs.store('block-1', BLOCK);
      const session = { ...xfs.session('block-copy', BLOCK), size: BLOCK.size + 1 };
      expect(await codeOf(xfs.pool.openClone('block-1', session, signal))).to.equal('size_mismatch');
      await xfs.destroy();
    });

    it('repairs a block without a change to its copies', async () => {
      const xfs = await RawPlace.make(workers, disk.path);
      await xfs.store('block-1', BLOCK);
      const writer = await xfs.pool.openClone('block-1', xfs.session('block-copy', BLOCK), signal);
      await writer!.prepare(signal);
      await writer!.commit(signal);
      await writer!.close();
      await xfs.flip('block-1', 'disk.raw', 100);
      expect(await damagedChunks(xfs.pool, 'block-1', BLOCK)).to.deep.equal([0]);
      await whole('block-copy', BLOCK, xfs);
      await xfs.pool.repair('block-1', 0, chunkBytes(BLOCK, 0), signal);
      for (const blockId of ['block-1', 'block-copy']) await whole(blockId, BLOCK, xfs);
      await xfs.destroy();
    });
  });
});
