import { jobParams } from '@openservice/protocol';
import { expect } from 'chai';
import { Bench, CHUNK, contextOf, SIZE } from './jobs-bench.ts';

describe('verify', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.make();
  });
  afterEach(() => bench.close());

  /** A block in both pools, of which that in the first has a flipped bit. */
  async function damagedIn(poolId: string, goodIn: string) {
    const block = await bench.imported(goodIn);
    await bench.handlers.upload.run(contextOf(jobParams.upload.parse({ block, from_pool_id: goodIn, pool_id: poolId })));
    await bench.flipBit(poolId, block.id);
    return block;
  }

  const verify = (params: unknown) => bench.handlers.verify.run(contextOf(jobParams.verify.parse(params)));

  for (const [name, damaged, good] of [
    ['a local pool from a dedup pool', 'a', 'd'],
    ['a dedup pool from a local pool', 'd', 'a'],
  ] as const) {
    it(`repairs ${name}, and says so`, async () => {
      const block = await damagedIn(bench[damaged], bench[good]);
      const found = await verify({ block, pool_ids: [bench[damaged]] });
      expect(found).to.deep.include({ verified: false });
      expect(found.damage[0]).to.include({ pool_id: bench[damaged], block_id: block.id });
      const repaired = await verify({ block, pool_ids: [bench[damaged]], repair_from: [bench.b, bench[good]] });
      expect(repaired).to.deep.include({ verified: true, damage: [] });
      expect(repaired.replicas[0]).to.include({ state: 'available' });
      expect(repaired.replicas[0]?.stored_bytes).to.be.greaterThan(0);
      expect(repaired.notes?.join(' ')).to.contain(`from pool ${bench[good]}`).and.to.contain(bench.b);
      const again = await verify({ block, pool_ids: [bench[damaged], bench[good]] });
      expect(again).to.deep.include({ verified: true, damage: [] });
      expect(again).to.not.have.property('notes');
    });
  }

  it('keeps a chunk damaged that no other replica has good', async () => {
    const block = await damagedIn(bench.a, bench.b);
    await bench.flipBit(bench.b, block.id);
    const result = await verify({ block, pool_ids: [bench.a], repair_from: [bench.b] });
    expect(result.verified).to.equal(false);
    expect(result.replicas[0]).to.include({ state: 'damaged' });
    expect(result.damage.map(({ message }) => message)).to.deep.equal([
      `Bytes ${7 * CHUNK} to ${8 * CHUNK - 1} (1 chunks from chunk 7 on) are damaged.`,
    ]);
  });

  it('calls a sample no proof', async () => {
    const block = await bench.imported();
    const context = contextOf(jobParams.verify.parse({ block, pool_ids: [bench.a], sample: 0.1 }));
    const result = await bench.handlers.verify.run(context);
    expect(result).to.deep.include({ verified: false, damage: [] });
    expect(result.replicas[0]).to.include({ state: 'available' });
    expect(result.progress).to.include({ bytes_total: SIZE, bytes_done: SIZE });
  });
});
