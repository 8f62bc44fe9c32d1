import { blake3 } from '@napi-rs/blake-hash';
import { expect } from 'chai';
import { count, digestAt, rootOf, type TestBlock } from './content.ts';
import type { Ability } from './pool.ts';
import { codeOf, fresh, freshSmall, type SuiteRun, signal } from './suite.ts';

/** Chunks that travel as they are stored, from one pool into another of the same driver. */
export function describeStored(run: SuiteRun, lacks: Partial<Record<Ability, string>>): void {
  describe('chunks as they are stored', () => {
    const source = run.group();

    if (lacks.stored !== undefined) {
      source.it(`hands out none: ${lacks.stored}`, async () => {
        const block = freshSmall();
        const reader = await source.pool.openReader(await source.stored(block), signal);
        expect((await reader.readStored?.(0, signal)) ?? null).to.equal(null);
        await reader.close();
        console.log(`      skipped: the other cases of stored chunks: ${lacks.stored}`);
      });
      return;
    }

    const target = run.group();
    source.first(() => target.ready());
    const opened = async (block: TestBlock) => {
      const reader = await source.pool.openReader(await source.stored(block), signal);
      const blockId = target.newBlock();
      const writer = await target.open(blockId, block);
      if (reader.readStored === undefined || writer.putStored === undefined)
        throw new Error('the driver does not hand chunks on as they are stored, and the suite was not told why');
      return { blockId, reader, writer };
    };

    source.it('takes them over as they are', async () => {
      const block = fresh();
      const { blockId, reader, writer } = await opened(block);
      for (let index = 0; index < count(block); index++) {
        const chunk = await reader.readStored!(index, signal);
        if (!block.data.has(index)) {
          expect(chunk, `hole ${index}`).to.equal(null);
          writer.hole(index, 1);
          continue;
        }
        expect(chunk?.digest.equals(digestAt(block, index)), `chunk ${index}`).to.equal(true);
        expect(chunk?.bytes.length).to.be.lessThan(chunk?.rawLength ?? 0);
        await writer.putStored!(index, chunk!, signal);
      }
      expect((await writer.prepare(signal)).rootDigest.equals(rootOf(block))).to.equal(true);
      await writer.commit(signal);
      await writer.close();
      await reader.close();
      await target.expectStored(blockId, block);
    });

    source.it('refuses one whose bytes are not of its digest, or were damaged on the way', async () => {
      const block = freshSmall();
      const { blockId, reader, writer } = await opened(block);
      const chunk = (await reader.readStored!(0, signal))!;
      const bytes = Buffer.from(chunk.bytes);
      bytes[bytes.length >>> 1]! ^= 1;
      const bad = [
        { ...chunk, bytes },
        { ...chunk, digest: blake3(Buffer.from('other')) },
      ];
      for (const damaged of bad) expect(await codeOf(writer.putStored!(0, damaged, signal))).to.equal('damaged_chunk');
      await writer.putStored!(0, chunk, signal);
      await target.finish(writer, block);
      await reader.close();
      await target.expectStored(blockId, block);
    });
  });
}
