import type { PermanentError } from '@openservice/domain';
import type { BlockMeta, BlockStat } from '@openservice/pools';
import { expect } from 'chai';
import { fill, rootOf } from './content.ts';
import { codeOf, freshSmall, type SuiteRun, signal } from './suite.ts';

const META: BlockMeta = {
  name: 'Datenbank – "Größe" / 1',
  set_id: 'set-1',
  set_name: 'nightly',
  parent_block_id: 'block-parent',
  created_at: '2026-11-24T10:00:00.000Z',
};

export function describeListing(run: SuiteRun): void {
  describe('listing', () => {
    const suite = run.group();
    const block = freshSmall();
    const all = async (options: { trashed?: boolean }): Promise<BlockStat[]> => {
      const found: BlockStat[] = [];
      for await (const stat of suite.reopened().list(signal, options)) found.push(stat);
      return found;
    };
    const ids = (stats: readonly BlockStat[]): string[] => stats.map((stat) => stat.blockId);

    suite.first(async () => {
      // Made in an order that is not theirs.
      for (const blockId of ['block-e', 'block-b', 'block-d', 'block-c']) await suite.stored(block, { blockId });
      await suite.stored(block, { blockId: 'block-a', meta: META });
      await suite.pool.trash('block-c', 2, signal);
      await suite.stored(block, { blockId: 'block-gone' });
      await suite.pool.remove('block-gone', 2, signal);
      const open = await suite.open('block-open', block);
      await fill(open, block);
      await open.prepare(signal);
      await open.close();
    });

    suite.it('lists the committed blocks in order of id, and no others', async () => {
      const found = await all({});
      expect(ids(found)).to.deep.equal(['block-a', 'block-b', 'block-d', 'block-e']);
      for (const stat of found) {
        expect(stat).to.include({ size: block.size, chunkSize: block.chunkSize });
        expect(stat.rootDigest.equals(rootOf(block))).to.equal(true);
        expect(stat.trashed ?? false).to.equal(false);
      }
    });

    suite.it('lists those in the trash when asked, and says which they are', async () => {
      const found = await all({ trashed: true });
      expect(ids(found)).to.deep.equal(['block-a', 'block-b', 'block-c', 'block-d', 'block-e']);
      expect(ids(found.filter((stat) => stat.trashed === true))).to.deep.equal(['block-c']);
    });

    suite.it('gives back what the blocks were stored with', async () => {
      const found = await all({ trashed: true });
      for (const { blockId, meta } of found) expect(meta ?? null, blockId).to.deep.equal(blockId === 'block-a' ? META : null);
      expect((await suite.pool.stat('block-a', signal))?.meta).to.deep.equal(META);
      expect((await suite.pool.stat('block-e', signal))?.meta ?? null).to.equal(null);
    });

    suite.alone('tells of a block that is damaged as a whole, and lists the others', async (own) => {
      for (const blockId of ['block-a', 'block-b', 'block-c', 'block-d']) await own.stored(block, { blockId });
      for (const blockId of ['block-a', 'block-c', 'block-d']) await own.place.lose(blockId);
      const pool = own.reopened();
      const told: string[] = [];
      const onDamaged = (blockId: string, error: PermanentError): void => {
        expect([error.code, error.outcome], error.message).to.deep.equal(['damaged_block', 'permanent']);
        expect(error.message).to.contain(blockId);
        told.push(blockId);
      };
      for await (const { blockId } of pool.list(signal, { onDamaged })) told.push(`${blockId} whole`);
      expect(told).to.deep.equal(['block-a', 'block-b whole', 'block-c', 'block-d']);
      expect(await codeOf(own.listed({}, pool))).to.equal('damaged_block');
    });

    suite.alone('keeps what a block was stored with in the trash and out of it; lists an empty pool', async (own) => {
      expect(await own.listed({ trashed: true })).to.deep.equal([]);
      await own.stored(block, { blockId: 'block-a', meta: META });
      const told = async (): Promise<unknown> => {
        for await (const stat of own.pool.list(signal, { trashed: true })) return stat.meta;
      };
      await own.pool.trash('block-a', 2, signal);
      expect(await own.listed()).to.deep.equal([]);
      expect(await told()).to.deep.equal(META);
      await own.pool.untrash('block-a', 3, signal);
      expect(await told()).to.deep.equal(META);
      expect((await own.pool.stat('block-a', signal))?.meta).to.deep.equal(META);
    });
  });
}
