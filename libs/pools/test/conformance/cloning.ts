import { CancelledError, FencedError } from '@openservice/domain';
import type { BlockWriter } from '@openservice/pools';
import { expect } from 'chai';
import { count, digestAt, rootOf, type TestBlock } from './content.ts';
import type { Ability } from './pool.ts';
import { codeOf, fresh, freshSmall, KIB, type SuiteRun, signal, thrown } from './suite.ts';

export function describeCloning(run: SuiteRun, lacks: Partial<Record<Ability, string>>): void {
  describe('cloning', () => {
    const suite = run.group();
    const cloning = async (from: string, to: string, block: TestBlock, attempt = 1, of = suite): Promise<BlockWriter> => {
      const writer = await of.reopened().openClone(from, of.session(to, block, attempt), signal);
      if (writer === null) throw new Error('the pool cannot clone, and the suite was not told why');
      return writer;
    };
    const commit = async (writer: BlockWriter): Promise<void> => {
      await writer.prepare(signal);
      await writer.commit(signal);
      await writer.close();
    };

    suite.it('refuses a source that is not there, in the trash, or not committed', async () => {
      const block = freshSmall();
      const trashed = await suite.stored(block);
      await suite.pool.trash(trashed, 2, signal);
      const open = suite.newBlock();
      const writer = await suite.open(open, block);
      for (const from of ['block-none', trashed, open]) {
        const session = suite.session(suite.newBlock(), block);
        expect(await codeOf(suite.pool.openClone(from, session, signal)), from).to.equal('block_not_in_pool');
        await suite.expectGone(session.blockId);
      }
      await writer.close();
    });

    suite.it('does nothing once the signal has fired', async () => {
      const block = freshSmall();
      const from = await suite.stored(block);
      const session = suite.session(suite.newBlock(), block);
      expect(await thrown(suite.pool.openClone(from, session, AbortSignal.abort()))).to.be.instanceOf(CancelledError);
      await suite.expectGone(session.blockId);
    });

    if (lacks.clone !== undefined) {
      suite.it(`leaves the copy to the engine: ${lacks.clone}`, async () => {
        const block = freshSmall();
        const from = await suite.stored(block);
        const session = suite.session(suite.newBlock(), block);
        expect(await suite.pool.openClone(from, session, signal)).to.equal(null);
        const writer = await suite.pool.openWriter(session, signal);
        expect(writer.has(0)).to.equal(false);
        await suite.finish(writer, block);
        await suite.expectStored(session.blockId, block);
        console.log(`      skipped: the other cases of cloning: ${lacks.clone}`);
      });
      return;
    }

    suite.alone('makes a block of its own that is the same, moves no data, and stays when the source goes', async (own) => {
      const block = fresh();
      const from = await own.stored(block);
      const to = own.newBlock();
      const writer = await cloning(from, to, block, 1, own);
      for (let index = 0; index < count(block); index++) expect(writer.has(index)).to.equal(true);
      expect(await writer.missing([digestAt(block, 0)])).to.have.length(1);
      const prepared = await writer.prepare(signal);
      expect(prepared.rootDigest.equals(rootOf(block))).to.equal(true);
      await own.expectGone(to);
      await writer.commit(signal);
      await writer.commit(signal);
      expect(writer.bytesSent).to.be.lessThan(64 * KIB);
      await writer.close();
      await own.pool.remove(from, 2, signal);
      await own.pool.collect({ jobId: 'job-gc', waitLimit: 0 }, signal);
      await own.expectStored(to, block);
      expect(await own.listed()).to.include(to);
    });

    suite.alone('keeps the source whole when the copy goes, and keeps what the copy was stored with', async (own) => {
      const block = freshSmall();
      const from = await own.stored(block);
      const meta = { name: 'copy', set_id: null, set_name: null, parent_block_id: from, created_at: '2026-11-24T10:00:00Z' };
      const session = { ...own.session(own.newBlock(), block), meta };
      const writer = await own.pool.openClone(from, session, signal);
      await commit(writer!);
      expect((await own.pool.stat(session.blockId, signal))?.meta).to.deep.equal(meta);
      await own.pool.remove(session.blockId, 2, signal);
      await own.pool.collect({ jobId: 'job-gc', waitLimit: 0 }, signal);
      await own.expectStored(from, block);
    });

    suite.it('goes on after a close, and a crash, with all there; the older attempt is refused', async () => {
      const block = freshSmall();
      const from = await suite.stored(block);
      const to = suite.newBlock();
      const old = await cloning(from, to, block, 1);
      await old.prepare(signal);
      const next = await cloning(from, to, block, 2);
      expect(next.has(count(block) - 1)).to.equal(true);
      for (const call of [() => old.checkpoint(signal), () => old.commit(signal), () => old.abort(signal)]) {
        expect(await thrown(call()), String(call)).to.be.instanceOf(FencedError);
      }
      expect(await thrown(cloning(from, to, block, 1))).to.be.instanceOf(FencedError);
      await old.close();
      await next.close();
      await commit(await cloning(from, to, block, 2));
      await suite.expectStored(to, block);
    });

    suite.it('finds all done when the command comes again, and refuses another job', async () => {
      const block = freshSmall();
      const from = await suite.stored(block);
      const to = suite.newBlock();
      await commit(await cloning(from, to, block));
      const again = await cloning(from, to, block);
      expect(again.has(0)).to.equal(true);
      expect((await again.prepare(signal)).rootDigest.equals(rootOf(block))).to.equal(true);
      await commit(again);
      const other = suite.session(to, block, 5, 'job-other');
      expect(await codeOf(suite.pool.openClone(from, other, signal))).to.equal('block_exists');
      await suite.expectStored(to, block);
    });

    suite.it('leaves nothing after an abort', async () => {
      const block = freshSmall();
      const from = await suite.stored(block);
      const to = suite.newBlock();
      const writer = await cloning(from, to, block);
      await writer.prepare(signal);
      await writer.abort(signal);
      await writer.abort(signal);
      await writer.close();
      await suite.expectGone(to, suite.reopened());
      await suite.expectStored(from, block);
    });

    suite.it('takes the place of what another job left half written', async () => {
      const block = freshSmall();
      const from = await suite.stored(block);
      const to = suite.newBlock();
      const half = await suite.open(to, freshSmall(), 1);
      half.hole(1, 2);
      await half.checkpoint(signal);
      await half.close();
      const writer = await suite.pool.openClone(from, suite.session(to, block, 2, 'job-clone'), signal);
      await commit(writer!);
      await suite.expectStored(to, block);
    });
  });
}
