import { CancelledError } from '@openservice/domain';
import type { BlockStat } from '@openservice/pools';
import { expect } from 'chai';
import { chunkBytes, count, digestAt, rootOf, type TestBlock } from './content.ts';
import type { Ability } from './pool.ts';
import { BLOCK, codeOf, expectContent, freshSmall, KIB, type SuiteRun, signal, thrown } from './suite.ts';

const BLOCK_ROOT = '46fe6e39597e4e0b5dca751366ca5a9fe54af7e8e9af8431fd22772458789cd8';

export function describeReading(run: SuiteRun, lacks: Partial<Record<Ability, string>>): void {
  describe('reading', () => {
    const suite = run.group();
    let blockId: string;
    suite.first(async () => {
      blockId = await suite.stored(BLOCK);
    });

    suite.it('is ready again once it was marked', async () => {
      await suite.reopened().probe({ create: true }, signal);
      const probe = await suite.reopened().probe({ create: false }, signal);
      expect(probe.fencing).to.be.oneOf(['strict', 'advisory']);
    });

    suite.it('gives back a block with holes and an odd end, under the root digest that its content has everywhere', async () => {
      const stat = (await suite.reopened().stat(blockId, signal)) as BlockStat;
      expect(stat.rootDigest.toString('hex')).to.equal(BLOCK_ROOT);
      expect(rootOf(BLOCK).toString('hex')).to.equal(BLOCK_ROOT);
      expect(stat).to.include({ blockId, size: BLOCK.size, chunkSize: BLOCK.chunkSize });
      expect(stat.trashed ?? false).to.equal(false);
      expect(stat.storedBytes).to.be.greaterThan(0).and.lessThan(BLOCK.size);
      const reader = await suite.reopened().openReader(blockId, signal);
      expect(reader.rootDigest.equals(stat.rootDigest)).to.equal(true);
      await expectContent(reader, BLOCK);
      await reader.close();
    });

    suite.it('reads any range across chunks and holes, and nothing past the end', async () => {
      const whole = Buffer.concat(Array.from({ length: count(BLOCK) }, (_, i) => chunkBytes(BLOCK, i)));
      const reader = await suite.pool.openReader(blockId, signal);
      const ranges: [number, number][] = [
        [0, 1],
        [BLOCK.chunkSize - 3, 6],
        [2 * BLOCK.chunkSize + 5, 6 * BLOCK.chunkSize],
        [BLOCK.size - 10, 10],
        [BLOCK.size, 0],
        [70_000, 4096],
      ];
      await Promise.all(
        ranges.map(async ([offset, length]) => {
          const bytes = await reader.read(offset, length, signal);
          expect(bytes.equals(whole.subarray(offset, offset + length)), `${offset}+${length}`).to.equal(true);
        }),
      );
      expect(await codeOf(reader.read(BLOCK.size - 1, 2, signal))).to.equal('out_of_range');
      await reader.close();
    });

    suite.it('tells the extents from any chunk on', async () => {
      const reader = await suite.pool.openReader(blockId, signal);
      for (const from of [0, 2, 8, 9, 40, 41]) {
        const found = new Set<number>();
        let last = -1;
        for await (const { first, count: length } of reader.extents(from, signal)) {
          expect(first).to.be.greaterThan(last);
          for (let i = first; i < first + length; i++) found.add(i);
          last = first + length - 1;
        }
        expect(last).to.be.lessThan(count(BLOCK));
        for (const index of BLOCK.data) if (index >= from) expect(found.has(index), `${index} from ${from}`).to.equal(true);
        expect(found.size, 'extents must not be everything').to.be.lessThan(count(BLOCK) / 2);
      }
      await reader.close();
    });

    if (lacks.known !== undefined) {
      suite.it(`tells no digest without reading: ${lacks.known}`, async () => {
        const reader = await suite.pool.openReader(blockId, signal);
        expect((await reader.knownDigest?.(0, signal)) ?? null).to.equal(null);
        await reader.close();
      });
    } else {
      suite.it('knows the digests of its chunks without reading them', async () => {
        const reader = await suite.pool.openReader(blockId, signal);
        if (reader.knownDigest === undefined) throw new Error('the reader has no knownDigest, and the suite was not told why');
        for (let index = 0; index < count(BLOCK); index++) {
          expect((await reader.knownDigest(index, signal))?.equals(digestAt(BLOCK, index)), `chunk ${index}`).to.equal(true);
        }
        await reader.close();
      });
    }

    for (const size of [1, 511, 4096, 256 * KIB, 256 * KIB + 1]) {
      suite.it(`keeps a block of ${size} bytes`, async () => {
        const block: TestBlock = { size, chunkSize: 256 * KIB, data: new Set([0]) };
        const reader = await suite.pool.openReader(await suite.stored(block), signal);
        await expectContent(reader, block);
        expect(reader.rootDigest.equals(rootOf(block))).to.equal(true);
        await reader.close();
      });
    }

    // Blocks of a pool may share what is damaged.
    suite.alone('notices damaged bytes, and names the chunk', async (own) => {
      const block = freshSmall();
      const damaged = await own.stored(block);
      await own.place.corrupt(damaged);
      const reader = await own.reopened().openReader(damaged, signal);
      const error = (await thrown(expectContent(reader, block))) as { code?: unknown; message?: unknown };
      expect(error.code).to.equal('damaged_chunk');
      expect(error.message)
        .to.include(damaged)
        .and.match(/Chunk \d+/);
      await reader.close();
    });

    suite.it('does nothing once the signal has fired', async () => {
      const stopped = AbortSignal.abort();
      const reader = await suite.pool.openReader(blockId, signal);
      const target = Buffer.alloc(BLOCK.chunkSize);
      for (const call of [
        () => suite.pool.stat(blockId, stopped),
        () => suite.pool.openReader(blockId, stopped),
        () => reader.readChunk(0, target, stopped),
        () => reader.read(0, 10, stopped),
        async () => {
          for await (const _ of suite.pool.list(stopped));
        },
      ]) {
        expect(await thrown(call()), String(call)).to.be.instanceOf(CancelledError);
      }
      await reader.close();
    });
  });
}
