import { expect } from 'chai';
import { chunkBytes, count, digestAt, rootOf } from './content.ts';
import type { Ability } from './pool.ts';
import { fresh, freshSmall, KIB, type SuiteRun, signal } from './suite.ts';

export function describeSharing(run: SuiteRun, lacks: Partial<Record<Ability, string>>): void {
  describe('sharing', () => {
    const suite = run.group();

    if (lacks.sharing !== undefined) {
      suite.it(`wants each block's bytes: ${lacks.sharing}`, async () => {
        const block = freshSmall();
        await suite.stored(block);
        const writer = await suite.open(suite.newBlock(), block);
        expect(await writer.missing([digestAt(block, 0)])).to.deep.equal([true]);
        await writer.abort(signal);
        await writer.close();
        console.log(`      skipped: the other cases of sharing: ${lacks.sharing}`);
      });
      return;
    }

    suite.it('misses nothing that another block of the pool holds, and takes it without its bytes', async () => {
      const block = fresh();
      await suite.stored(block);
      const other = { ...block, data: new Set([...block.data].filter((index) => index !== 7)) };
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, other, 1, suite.reopened());
      const digests = [...other.data].map((index) => digestAt(block, index));
      const strange = digestAt(freshSmall(), 0);
      expect(await writer.missing([...digests, strange])).to.deep.equal([...digests.map(() => false), true]);
      for (let index = 0; index < count(other); index++) {
        if (other.data.has(index)) await writer.put(index, digestAt(other, index), Buffer.alloc(0), signal);
        else writer.hole(index, 1);
      }
      const prepared = await writer.prepare(signal);
      expect(prepared.rootDigest.equals(rootOf(other))).to.equal(true);
      expect(prepared.storedBytes).to.be.lessThan(64 * KIB);
      await writer.commit(signal);
      expect(writer.bytesSent).to.be.lessThan(64 * KIB);
      await writer.close();
      await suite.expectStored(blockId, other);
    });

    suite.it('sends a chunk once though it comes with its bytes again', async () => {
      const block = fresh();
      await suite.stored(block);
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block);
      // As the engine does: what is not missing is put all the same.
      await writer.missing([...block.data].map((index) => digestAt(block, index)));
      for (const index of block.data) await writer.put(index, digestAt(block, index), chunkBytes(block, index), signal);
      await suite.finish(writer, block);
      expect(writer.bytesSent).to.be.lessThan(64 * KIB);
      await suite.expectStored(blockId, block);
    });

    suite.alone('keeps what two blocks share when the first goes and is collected', async (own) => {
      const block = fresh();
      const first = await own.stored(block);
      const second = await own.stored(block);
      await own.pool.remove(first, 2, signal);
      await own.pool.collect({ jobId: 'job-gc', waitLimit: 0 }, signal);
      await own.expectStored(second, block);
    });
  });
}
