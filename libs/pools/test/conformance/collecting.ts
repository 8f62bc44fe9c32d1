import { CancelledError } from '@openservice/domain';
import type { BlockWriter, CollectReport, Pool } from '@openservice/pools';
import { expect } from 'chai';
import { count, digestAt, fill, putChunk, type TestBlock } from './content.ts';
import { fresh, freshSmall, KIB, type SuiteRun, signal, thrown } from './suite.ts';

export function describeCollecting(run: SuiteRun): void {
  describe('collection', () => {
    const group = run.group();
    /** No session is open beside it but where a case says so: there is nothing to wait for. */
    const collect = (pool: Pool, waitLimit = 0): Promise<CollectReport> => pool.collect({ jobId: 'job-gc', waitLimit }, signal);
    /** Puts every chunk, without its bytes where the pool says it has them. */
    const fillKnown = async (writer: BlockWriter, block: TestBlock): Promise<void> => {
      for (let index = 0; index < count(block); index++) {
        if (writer.has(index)) continue;
        if (!block.data.has(index)) {
          writer.hole(index, 1);
          continue;
        }
        const digest = digestAt(block, index);
        const [missing] = await writer.missing([digest]);
        const given = missing === true ? null : await thrown(writer.put(index, digest, Buffer.alloc(0), signal));
        if (missing === true || (given as { code?: unknown } | null)?.code === 'chunk_bytes_needed')
          await putChunk(writer, block, index);
        else if (given !== null) throw given;
      }
    };

    group.alone('frees what a removed block alone used, and leaves the others', async (suite) => {
      const [gone, stays] = [fresh(), fresh()];
      const [doomed, kept] = [await suite.stored(gone), await suite.stored(stays)];
      const before = await collect(suite.pool);
      await suite.pool.remove(doomed, 2, signal);
      const after = await collect(suite.reopened());
      expect(after.damaged).to.deep.equal([]);
      expect(after.keptObjects).to.equal(0);
      expect(before.liveBytes - after.liveBytes, 'bytes that are live no more').to.be.greaterThan(200 * KIB);
      await suite.expectStored(kept, stays);
    });

    group.alone('finds nothing to do the second time, and the content can be stored anew', async (suite) => {
      const block = freshSmall();
      await suite.pool.remove(await suite.stored(block), 2, signal);
      const first = await collect(suite.pool);
      const again = await collect(suite.pool);
      expect(again.freedBytes).to.equal(0);
      expect(again.liveBytes).to.equal(first.liveBytes);
      await suite.expectStored(await suite.stored(block), block);
    });

    group.alone('keeps a block that is in the trash', async (suite) => {
      const block = freshSmall();
      const blockId = await suite.stored(block);
      await suite.pool.trash(blockId, 2, signal);
      const report = await collect(suite.pool);
      expect(report.liveBytes).to.be.greaterThan(0);
      await suite.pool.untrash(blockId, 3, signal);
      await suite.expectStored(blockId, block);
    });

    group.alone('frees what aborted writers left, and what others of the same block did', async (suite) => {
      const before = await collect(suite.pool);
      const block = fresh();
      const blockId = suite.newBlock();
      const first = await suite.open(blockId, block, 1);
      await fill(first, block);
      await first.checkpoint(signal);
      await first.close();
      const second = await suite.reopened().openWriter(suite.session(blockId, block, 2, 'job-other'), signal);
      await second.abort(signal);
      await second.close();
      const after = await collect(suite.pool);
      expect(after.liveBytes).to.be.at.most(before.liveBytes);
    });

    group.alone('goes on beside a writer that says nothing for a while, and loses nothing of it', async (suite) => {
      const block = fresh();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      for (const index of [0, 1, 2, 7]) await putChunk(writer, block, index);
      await writer.checkpoint(signal);
      await putChunk(writer, block, 8);
      await collect(suite.reopened());
      await suite.finish(writer, block);
      await collect(suite.pool);
      await suite.expectStored(blockId, block);
    });

    group.alone('never takes from under a writer what it builds on, though the block that had it is gone', async (suite) => {
      const block = fresh();
      const old = await suite.stored(block);
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block, 1, suite.reopened());
      await fillKnown(writer, { ...block, data: new Set([0, 1, 2]), size: 3 * block.chunkSize });
      await suite.pool.remove(old, 2, signal);
      await collect(suite.reopened());
      await fillKnown(writer, block);
      await writer.checkpoint(signal);
      await collect(suite.reopened());
      await writer.prepare(signal);
      await writer.commit(signal);
      await writer.close();
      await collect(suite.pool);
      await suite.expectStored(blockId, block);
    });

    group.alone('runs while writers come and go', async (suite) => {
      const blocks = Array.from({ length: 4 }, () => freshSmall());
      const old = await Promise.all(blocks.map((block) => suite.stored(block)));
      let writing = true;
      const writers = Promise.all(
        blocks.map(async (block, i) => {
          await suite.pool.remove(old[i]!, 2, signal);
          const blockId = suite.newBlock();
          const writer = await suite.open(blockId, block, 1, suite.reopened());
          await fillKnown(writer, block);
          await writer.checkpoint(signal);
          await suite.finish(writer, block);
          return blockId;
        }),
      ).finally(() => {
        writing = false;
      });
      let rounds = 0;
      while (writing || rounds < 2) {
        await collect(suite.reopened(), 50);
        rounds++;
      }
      for (const [i, blockId] of (await writers).entries()) await suite.expectStored(blockId, blocks[i]!);
    });

    group.it('does nothing once the signal has fired', async () => {
      const call = group.pool.collect({ jobId: 'job-gc' }, AbortSignal.abort());
      expect(await thrown(call)).to.be.instanceOf(CancelledError);
    });
  });
}
