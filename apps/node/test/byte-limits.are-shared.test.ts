import { expect } from 'chai';
import { ByteLimits } from '../src/byte-limits.ts';

/** Granted without a wait. */
async function isFree(limits: ByteLimits, poolIds: string[]): Promise<boolean> {
  const waited = new AbortController();
  try {
    for (const limit of limits.of(poolIds))
      await limit.take(1_000_000, waited.signal, () => waited.abort(new Error('it is not free')));
    return true;
  } catch (error) {
    if (!waited.signal.aborted) throw error;
    return false;
  }
}

describe('limits of a node and its pools', () => {
  it('bound nothing until a center says so', async () => {
    expect(await isFree(new ByteLimits(), ['pool-1', 'pool-2'])).to.equal(true);
  });

  it('bound what touches a limited pool, as source or target, and nothing else', async () => {
    const limits = new ByteLimits();
    limits.set({ bandwidth: null, pools: [{ pool_id: 'pool-1', bandwidth: 1 }] });
    expect(await isFree(limits, ['pool-2', 'pool-1'])).to.equal(false);
    expect(await isFree(limits, ['pool-2'])).to.equal(true);
    limits.set({ bandwidth: 1, pools: [] });
    expect(await isFree(limits, ['pool-2'])).to.equal(false);
  });

  it('change for whoever has them already', async () => {
    const limits = new ByteLimits();
    const held = limits.of(['pool-1']);
    limits.set({ bandwidth: null, pools: [{ pool_id: 'pool-1', bandwidth: 1 }] });
    expect(await isFree({ of: () => held } as unknown as ByteLimits, [])).to.equal(false);
    limits.set({ bandwidth: null, pools: [] });
    expect(await isFree({ of: () => held } as unknown as ByteLimits, [])).to.equal(true);
  });

  it('count a pool once that is both ends', () => {
    expect(new ByteLimits().of(['pool-1', 'pool-1'])).to.have.length(2);
  });
});
