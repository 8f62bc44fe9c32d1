import { CancelledError } from '@openservice/domain';
import { expect } from 'chai';
import { chunkBytes, count, type TestBlock } from './content.ts';
import { codeOf, damagedChunks, freshSmall, type PoolSuite, type SuiteRun, signal, thrown } from './suite.ts';

export function describeRepairing(run: SuiteRun): void {
  describe('repair', () => {
    // What is damaged may be shared: each case has a pool of its own.
    const group = run.group();

    /** A block of which at least one chunk is damaged, and another of the same content. */
    const damaged = async (suite: PoolSuite, block: TestBlock): Promise<{ one: string; other: string; chunks: number[] }> => {
      const [one, other] = [await suite.stored(block), await suite.stored(block)];
      await suite.place.corrupt(one);
      const chunks = await damagedChunks(suite.reopened(), one, block);
      expect(chunks).to.not.deep.equal([]);
      return { one, other, chunks };
    };

    group.alone('makes damaged chunks good, for every block that shares them', async (suite) => {
      const block = freshSmall();
      const { one, other, chunks } = await damaged(suite, block);
      for (const index of chunks) await suite.pool.repair(one, index, chunkBytes(block, index), signal);
      for (const blockId of [one, other]) await suite.expectStored(blockId, block);
      await suite.pool.collect({ jobId: 'job-gc', waitLimit: 0 }, signal);
      await suite.expectStored(other, block);
    });

    group.alone('refuses bytes that are not the chunk’s, and changes nothing', async (suite) => {
      const block = freshSmall();
      const { one, chunks } = await damaged(suite, block);
      const [index] = chunks as [number];
      const wrong = chunkBytes(freshSmall(), index);
      for (const bytes of [wrong, wrong.subarray(1), Buffer.alloc(wrong.length), Buffer.alloc(0)]) {
        expect(await codeOf(suite.pool.repair(one, index, bytes, signal)), `${bytes.length} bytes`).to.equal('digest_mismatch');
      }
      expect(await damagedChunks(suite.reopened(), one, block)).to.deep.equal(chunks);
    });

    group.alone('may be given the bytes of a chunk that is whole', async (suite) => {
      const block = freshSmall();
      const blockId = await suite.stored(block);
      await suite.pool.repair(blockId, 1, chunkBytes(block, 1), signal);
      await suite.expectStored(blockId, block);
    });

    group.alone('lets no new block rely on a chunk that was marked as damaged', async (suite) => {
      const block = freshSmall();
      const { one, chunks } = await damaged(suite, block);
      for (const index of chunks) await suite.pool.repair(one, index, null, signal);
      const later = suite.reopened();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block, 1, later);
      await suite.finish(writer, block);
      await suite.expectStored(blockId, block);
      expect(await damagedChunks(suite.reopened(), one, block), 'marked only').to.not.deep.equal([]);
    });

    group.alone('says what cannot be repaired', async (suite) => {
      const block = freshSmall();
      const blockId = await suite.stored(block);
      const bytes = chunkBytes(block, 0);
      expect(await codeOf(suite.pool.repair('block-none', 0, bytes, signal))).to.equal('block_not_in_pool');
      for (const index of [2, count(block), -1]) {
        expect(await codeOf(suite.pool.repair(blockId, index, bytes, signal)), `chunk ${index}`).to.equal('out_of_range');
      }
      expect(await thrown(suite.pool.repair(blockId, 0, bytes, AbortSignal.abort()))).to.be.instanceOf(CancelledError);
      await suite.expectStored(blockId, block);
    });
  });
}
