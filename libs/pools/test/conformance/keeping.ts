import { CancelledError, FencedError } from '@openservice/domain';
import { expect } from 'chai';
import { fill, type TestBlock } from './content.ts';
import { codeOf, freshSmall, type SuiteRun, signal, thrown } from './suite.ts';

export function describeKeeping(run: SuiteRun): void {
  describe('trash and removal', () => {
    const suite = run.group();
    const trashed = async (block: TestBlock): Promise<string> => {
      const blockId = await suite.stored(block);
      await suite.pool.trash(blockId, 2, signal);
      return blockId;
    };

    suite.it('hides a block that is in the trash, and has it back whole', async () => {
      const block = freshSmall();
      const blockId = await trashed(block);
      const later = suite.reopened();
      await later.trash(blockId, 2, signal);
      await suite.expectGone(blockId, later);
      await later.untrash(blockId, 3, signal);
      await later.untrash(blockId, 3, signal);
      expect((await suite.pool.stat(blockId, signal))?.trashed ?? false).to.equal(false);
      await suite.expectStored(blockId, block);
    });

    suite.it('goes into the trash and out of it as often as one likes', async () => {
      const block = freshSmall();
      const blockId = await suite.stored(block);
      for (let fence = 2; fence < 8; fence += 2) {
        await suite.pool.trash(blockId, fence, signal);
        await suite.pool.untrash(blockId, fence + 1, signal);
      }
      await suite.expectStored(blockId, block);
    });

    suite.it('refuses old fences at the trash, in both directions', async () => {
      const block = freshSmall();
      const blockId = await suite.stored(block);
      await suite.pool.trash(blockId, 5, signal);
      for (const call of [
        () => suite.pool.untrash(blockId, 4, signal),
        () => suite.pool.trash(blockId, 4, signal),
        () => suite.pool.remove(blockId, 4, signal),
        () => suite.open(blockId, block, 4),
      ]) {
        expect(await thrown(call()), String(call)).to.be.instanceOf(FencedError);
      }
      await suite.pool.untrash(blockId, 6, signal);
      expect(await thrown(suite.pool.trash(blockId, 5, signal))).to.be.instanceOf(FencedError);
      await suite.expectStored(blockId, block);
    });

    suite.it('knows nothing to trash or to have back of a block that is not committed', async () => {
      const never = suite.newBlock();
      const open = suite.newBlock();
      const block = freshSmall();
      const writer = await suite.open(open, block);
      const removed = await suite.stored(freshSmall());
      await suite.pool.remove(removed, 2, signal);
      for (const blockId of [never, open, removed]) {
        expect(await codeOf(suite.pool.trash(blockId, 9, signal)), blockId).to.equal('block_not_in_pool');
        expect(await codeOf(suite.pool.untrash(blockId, 9, signal)), blockId).to.equal('block_not_in_pool');
      }
      await suite.finish(writer, block);
      expect(await codeOf(suite.pool.untrash(open, 1, signal)), 'committed already').to.equal(undefined);
      await suite.expectStored(open, block);
    });

    suite.it('refuses to write over a block in the trash, by its own job too', async () => {
      const block = freshSmall();
      const blockId = await trashed(block);
      for (const jobId of [`job-of-${blockId}`, 'job-other']) {
        const error = (await thrown(suite.pool.openWriter(suite.session(blockId, block, 3, jobId), signal))) as Error;
        expect(error).to.have.property('code', 'block_exists');
        expect(error.message).to.include('in the trash');
      }
      await suite.pool.untrash(blockId, 3, signal);
      await suite.expectStored(blockId, block);
    });

    suite.it('refuses the commit of a writer that was trashed behind its back, and leaves the trash alone', async () => {
      const block = freshSmall();
      const blockId = suite.newBlock();
      const writer = await suite.open(blockId, block, 1);
      await fill(writer, block);
      await writer.prepare(signal);
      const again = await suite.open(blockId, block, 2, suite.reopened());
      await suite.finish(again, block);
      await suite.pool.trash(blockId, 3, signal);
      expect(await thrown(writer.commit(signal))).to.be.instanceOf(FencedError);
      expect(await thrown(writer.abort(signal))).to.be.instanceOf(FencedError);
      await writer.close();
      await suite.pool.untrash(blockId, 4, signal);
      await suite.expectStored(blockId, block);
    });

    suite.it('removes a block from the trash for good, and keeps the fence', async () => {
      const block = freshSmall();
      const blockId = await trashed(block);
      await suite.pool.remove(blockId, 3, signal);
      await suite.reopened().remove(blockId, 3, signal);
      expect(await codeOf(suite.pool.untrash(blockId, 4, signal))).to.equal('block_not_in_pool');
      expect(await thrown(suite.open(blockId, block, 2))).to.be.instanceOf(FencedError);
    });

    suite.it('removes a block, again without complaint, and lets a newer attempt write it anew', async () => {
      const block = freshSmall();
      const blockId = await suite.stored(block);
      await suite.pool.remove(blockId, 3, signal);
      await suite.reopened().remove(blockId, 3, signal);
      await suite.expectGone(blockId);
      expect(await thrown(suite.open(blockId, block, 2))).to.be.instanceOf(FencedError);
      const again = await suite.open(blockId, block, 4);
      expect(again.has(0)).to.equal(false);
      await suite.finish(again, block);
      await suite.expectStored(blockId, block);
    });

    suite.it('removes a block that never was, and one that is being written', async () => {
      const block = freshSmall();
      const never = suite.newBlock();
      await suite.pool.remove(never, 7, signal);
      expect(await thrown(suite.open(never, block, 6))).to.be.instanceOf(FencedError);
      const open = suite.newBlock();
      const writer = await suite.open(open, block);
      await fill(writer, block);
      await suite.reopened().remove(open, 2, signal);
      expect(await thrown(writer.commit(signal))).to.be.instanceOf(FencedError);
      await writer.close();
      await suite.expectGone(open);
    });

    suite.it('keeps one block whole when another of the same content is removed', async () => {
      const block = freshSmall();
      const [one, other] = [await suite.stored(block), await suite.stored(block)];
      await suite.pool.remove(one, 2, signal);
      await suite.expectStored(other, block);
    });

    suite.it('does nothing once the signal has fired', async () => {
      const stopped = AbortSignal.abort();
      const block = freshSmall();
      const blockId = await suite.stored(block);
      for (const call of [
        () => suite.pool.trash(blockId, 9, stopped),
        () => suite.pool.untrash(blockId, 9, stopped),
        () => suite.pool.remove(blockId, 9, stopped),
      ]) {
        expect(await thrown(call()), String(call)).to.be.instanceOf(CancelledError);
      }
      await suite.expectStored(blockId, block);
    });
  });
}
