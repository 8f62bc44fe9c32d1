import { CancelledError, PermanentError } from '@openservice/domain';
import { expect } from 'chai';
import { chunkBytes, count, digestOf, fill, putChunk, rootOf, type TestBlock } from './content.ts';
import { BLOCK, codeOf, fresh, freshSmall, KIB, type SuiteRun, signal, thrown } from './suite.ts';

const MIB = KIB * KIB;
const GIB = KIB * MIB;

export function describeWriting(run: SuiteRun): void {
  describe('writing', () => {
    const suite = run.group();

    suite.it('takes chunks of zeros as holes, whatever way they come', async () => {
      const block: TestBlock = { size: BLOCK.size, chunkSize: BLOCK.chunkSize, data: new Set() };
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      for (let i = 0; i < 8; i++) await putChunk(writer, block, i);
      writer.hole(8, count(block) - 8);
      expect((await writer.prepare(signal)).rootDigest.equals(rootOf(block))).to.equal(true);
      await writer.commit(signal);
      await writer.close();
      await suite.expectStored(blockId, block);
    });

    suite.it('takes chunks out of order, many at once, and the same one twice', async () => {
      const block = fresh();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      const order = [...block.data].reverse();
      await Promise.all([...order, ...order].map((index) => putChunk(writer, block, index)));
      await putChunk(writer, block, 7);
      await suite.finish(writer, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('leaves the bytes given to put alone, and does not need them after', async () => {
      const block = fresh();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      const buffer = Buffer.alloc(block.chunkSize);
      for (const index of block.data) {
        const bytes = chunkBytes(block, index);
        bytes.copy(buffer);
        await writer.put(index, digestOf(bytes), buffer.subarray(0, bytes.length), signal);
        expect(buffer.subarray(0, bytes.length).equals(bytes)).to.equal(true);
        buffer.fill(0xee);
      }
      await suite.finish(writer, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('wants the bytes of a chunk that it does not hold', async () => {
      const block = freshSmall();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      const digest = digestOf(chunkBytes(block, 0));
      expect(await writer.missing([digest, Buffer.alloc(32)])).to.deep.equal([true, false]);
      expect(await codeOf(writer.put(0, digest, Buffer.alloc(0), signal))).to.equal('chunk_bytes_needed');
      await suite.finish(writer, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('does not prepare a block that lacks a chunk', async () => {
      const block = freshSmall();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      await putChunk(writer, block, 0);
      expect(await codeOf(writer.prepare(signal))).to.equal('incomplete_block');
      expect(await thrown(writer.commit(signal))).to.be.instanceOf(PermanentError);
      await writer.abort(signal);
      await writer.close();
      await suite.expectGone(blockId);
    });

    suite.it('shows nothing of a block that is prepared but not committed', async () => {
      const block = fresh();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      await fill(writer, block);
      const prepared = await writer.prepare(signal);
      expect((await writer.prepare(signal)).rootDigest.equals(prepared.rootDigest)).to.equal(true);
      for (const pool of [suite.pool, suite.reopened()]) await suite.expectGone(blockId, pool);
      await writer.close();
      const again = await suite.open(blockId, block, 2, suite.reopened());
      expect(await fill(again, block), 'all was durable').to.deep.equal([]);
      await suite.finish(again, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('commits twice, and again by a command that came twice', async () => {
      const block = freshSmall();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      await fill(writer, block);
      const prepared = await writer.prepare(signal);
      await writer.commit(signal);
      await writer.commit(signal);
      await writer.close();
      const again = await suite.open(blockId, block, 1, suite.reopened());
      for (let index = 0; index < count(block); index++) expect(again.has(index)).to.equal(true);
      expect((await again.prepare(signal)).rootDigest.equals(prepared.rootDigest)).to.equal(true);
      await again.commit(signal);
      await again.close();
      await suite.expectStored(blockId, block);
    });

    suite.it('refuses another job that would write a block that is there', async () => {
      const block = freshSmall();
      const blockId = await suite.stored(block);
      const other = suite.session(blockId, block, 5, 'job-other');
      expect(await codeOf(suite.pool.openWriter(other, signal))).to.equal('block_exists');
      await suite.expectStored(blockId, block);
    });

    suite.it('does nothing once the signal has fired', async () => {
      const block = freshSmall();
      const stopped = AbortSignal.abort();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      const bytes = chunkBytes(block, 0);
      for (const call of [
        () => suite.pool.openWriter(suite.session(suite.newBlock(), block), stopped),
        () => writer.put(0, digestOf(bytes), bytes, stopped),
        () => writer.checkpoint(stopped),
        () => writer.prepare(stopped),
      ]) {
        expect(await thrown(call()), String(call)).to.be.instanceOf(CancelledError);
      }
      await suite.finish(writer, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('keeps 256 GiB with a few chunks of data for about the price of the data', async () => {
      const block = { size: 256 * GIB + 5, chunkSize: MIB, data: new Set([0, 131_072, 262_143]) };
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      for (const index of block.data) await putChunk(writer, block, index);
      writer.hole(1, 131_071);
      writer.hole(131_073, 131_070);
      writer.hole(262_144, 1);
      await writer.checkpoint(signal);
      const prepared = await writer.prepare(signal);
      await writer.commit(signal);
      expect(prepared.storedBytes).to.be.lessThan(16 * MIB);
      expect(writer.bytesSent).to.be.lessThan(24 * MIB);
      await writer.close();
      const reader = await suite.reopened().openReader(blockId, signal);
      const target = Buffer.alloc(block.chunkSize);
      for (const index of block.data) {
        await reader.readChunk(index, target, signal);
        expect(target.equals(chunkBytes(block, index))).to.equal(true);
      }
      expect((await reader.read(block.size - 5, 5, signal)).equals(Buffer.alloc(5))).to.equal(true);
      const found: number[] = [];
      for await (const range of reader.extents(0, signal)) found.push(range.count);
      expect(found.reduce((sum, n) => sum + n, 0)).to.be.lessThan(100_000);
      await reader.close();
    });

    suite.it('keeps a chunk that comes again in the same block', async () => {
      const block = freshSmall();
      const blockId = suite.newBlock();
      const first = chunkBytes(block, 0);
      const writer = await suite.open(blockId, block);
      for (const index of [0, 1, 2, 3, 4]) await writer.put(index, digestOf(first), first, signal);
      await putChunk(writer, block, 5);
      await writer.prepare(signal);
      await writer.commit(signal);
      await writer.close();
      const reader = await suite.reopened().openReader(blockId, signal);
      const target = Buffer.alloc(block.chunkSize);
      for (const index of [0, 1, 2, 3, 4]) {
        await reader.readChunk(index, target, signal);
        expect(target.equals(first), `chunk ${index}`).to.equal(true);
      }
      await reader.close();
    });
  });
}
