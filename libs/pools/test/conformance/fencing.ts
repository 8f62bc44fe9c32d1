import { FencedError } from '@openservice/domain';
import { expect } from 'chai';
import { count, fill, putChunk } from './content.ts';
import { fresh, freshSmall, type SuiteRun, signal, thrown } from './suite.ts';

export function describeFencing(run: SuiteRun): void {
  describe('fencing and resume', () => {
    const suite = run.group();

    suite.it('has what was checkpointed after a close without commit, and needs only the rest', async () => {
      const block = fresh();
      const blockId = suite.newBlock();
      const first = await suite.open(blockId, block);
      for (const index of [0, 1, 7]) await putChunk(first, block, index);
      first.hole(3, 4);
      await first.checkpoint(signal);
      for (const index of [0, 1, 3, 6, 7]) expect(first.has(index), `chunk ${index}`).to.equal(true);
      await putChunk(first, block, 20);
      await first.close();
      const second = await suite.open(blockId, block, 1, suite.reopened());
      for (const index of [0, 1, 3, 4, 5, 6, 7]) expect(second.has(index), `chunk ${index}`).to.equal(true);
      expect(second.has(2)).to.equal(false);
      const put = await fill(second, block);
      expect(put).to.include(2).and.not.include.members([0]);
      await suite.finish(second, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('lets a higher attempt go on while the older one has not ended, and refuses the older all it tries', async () => {
      const block = fresh();
      const blockId = suite.newBlock();
      const old = await suite.open(blockId, block, 1);
      await putChunk(old, block, 0);
      await putChunk(old, block, 1);
      await old.checkpoint(signal);
      const next = await suite.open(blockId, block, 2, suite.reopened());
      expect(next.has(0) && next.has(1)).to.equal(true);
      for (const call of [
        () => putChunk(old, block, 2).then(() => old.checkpoint(signal)),
        () => old.checkpoint(signal),
        () => old.commit(signal),
        () => old.abort(signal),
        () => suite.pool.remove(blockId, 1, signal),
        () => suite.open(blockId, block, 1),
        () => suite.pool.trash(blockId, 1, signal),
        () => suite.pool.untrash(blockId, 1, signal),
      ]) {
        expect(await thrown(call()), String(call)).to.be.instanceOf(FencedError);
      }
      expect(await suite.pool.stat(blockId, signal)).to.equal(null);
      await old.close();
      await suite.finish(next, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('refuses an old attempt that had prepared all and only has to commit', async () => {
      const block = freshSmall();
      const blockId = suite.newBlock();
      const old = await suite.open(blockId, block, 1);
      await fill(old, block);
      await old.prepare(signal);
      const next = await suite.open(blockId, block, 2, suite.reopened());
      expect(await thrown(old.commit(signal))).to.be.instanceOf(FencedError);
      expect(await suite.reopened().stat(blockId, signal)).to.equal(null);
      await old.close();
      await suite.finish(next, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('drops what another job left uncommitted', async () => {
      const block = fresh();
      const blockId = suite.newBlock();
      const first = await suite.open(blockId, block, 1);
      await fill(first, { ...block, data: new Set([0, 5, 6, 12]) });
      await first.checkpoint(signal);
      await first.close();
      const second = await suite.reopened().openWriter(suite.session(blockId, block, 2, 'job-other'), signal);
      for (let index = 0; index < count(block); index++) expect(second.has(index)).to.equal(false);
      await suite.finish(second, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('leaves nothing after an abort, which may be repeated, and begins anew after it', async () => {
      const block = fresh();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block, 1);
      await fill(writer, block);
      await writer.prepare(signal);
      await writer.abort(signal);
      await writer.abort(signal);
      await writer.close();
      await suite.expectGone(blockId, suite.reopened());
      const next = await suite.open(blockId, block, 2, suite.reopened());
      expect(next.has(0)).to.equal(false);
      await suite.finish(next, block);
      await suite.expectStored(blockId, block);
    });
  });
}
