/** What a node tells a center of a pool: all of it page by page, and single blocks looked at anew. */
import { newId } from '@openservice/domain';
import { expect } from 'chai';
import { PoolBlocks } from '../src/rpc/pool-blocks.ts';
import { Bench } from './jobs-bench.ts';

describe('blocks of a pool', () => {
  let bench: Bench;
  let blocks: PoolBlocks;
  let lists: number;

  beforeEach(async () => {
    bench = await Bench.make();
    lists = 0;
    const pool = bench.pools.get(bench.a)!;
    const list = pool.list.bind(pool);
    pool.list = (...args) => {
      lists++;
      return list(...args);
    };
    blocks = new PoolBlocks({ get: async () => pool });
  });
  afterEach(() => bench.close());

  const page = (after: string, limit: number) => blocks.answer({ pool_id: bench.a, after, limit, ids: null });

  it('come in pages that go on with one list, and with a new one where somebody came between', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push((await bench.imported()).id);
    ids.sort();
    const first = await page('', 2);
    expect(first).to.deep.equal({ blocks: ids.slice(0, 2).map((id) => ({ id, state: 'committed' })), more: true });
    expect((await page(ids[1]!, 2)).blocks.map(({ id }) => id)).to.deep.equal(ids.slice(2, 4));
    expect(lists).to.equal(1);
    expect(
      (await page(ids[0]!, 3)).blocks.map(({ id }) => id),
      'another begins in the middle',
    ).to.deep.equal(ids.slice(1, 4));
    expect(lists).to.equal(2);
    expect(await page(ids[3]!, 3)).to.deep.equal({ blocks: [{ id: ids[4], state: 'committed' }], more: false });
    expect(await page(ids[4]!, 3), 'nothing is left').to.deep.equal({ blocks: [], more: false });
  });

  it('those in the trash are told as such, and single ones are looked at: there, or not', async () => {
    const [here, trashed] = [(await bench.imported()).id, (await bench.imported()).id];
    await bench.pools.get(bench.a)!.trash(trashed, 1_000_000, new AbortController().signal);
    const { blocks: listed } = await page('', 10);
    expect(listed.find(({ id }) => id === trashed)).to.deep.equal({ id: trashed, state: 'trashed' });
    const looked = await blocks.answer({ pool_id: bench.a, after: '', limit: 10, ids: [here, trashed, newId('block'), '../x'] });
    expect(looked).to.deep.equal({ blocks: [{ id: here, state: 'committed' }], more: false });
  });
});
