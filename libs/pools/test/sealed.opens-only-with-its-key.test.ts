import { randomBytes } from 'node:crypto';
import { PermanentError } from '@openservice/domain';
import { createMemoryBackend } from '@openservice/pools';
import { expect } from 'chai';
import { withSealing } from '../src/sealed/backend.ts';
import { poolKeys } from '../src/sealed/keys.ts';

const signal = new AbortController().signal;
const NAME = 'blocks/block-1/0000000000000001/manifest';

describe('sealed small objects', () => {
  it('come back as they were, in whole and in part, and lie there unreadable', async () => {
    const bare = createMemoryBackend();
    const sealed = withSealing(bare, randomBytes(32));
    const plain = Buffer.from('the accounts of last year '.repeat(50));
    await sealed.put(NAME, [plain.subarray(0, 7), plain.subarray(7)], signal);
    expect((await sealed.get(NAME, null, signal)).equals(plain)).to.equal(true);
    expect((await sealed.get(NAME, { offset: 4, length: 8 }, signal)).toString()).to.equal('accounts');
    expect(await sealed.head(NAME, signal)).to.equal(plain.length);
    expect((await bare.get(NAME, null, signal)).includes('accounts')).to.equal(false);
    expect(await sealed.putIfAbsent(NAME, plain, signal)).to.equal(false);
  });

  it('do not open with another key, under another name, or with a bit flipped', async () => {
    const bare = createMemoryBackend();
    const key = randomBytes(32);
    await withSealing(bare, key).put(NAME, Buffer.from('content'), signal);
    const bytes = await bare.get(NAME, null, signal);
    const other = NAME.replace('1/manifest', '2/manifest');
    await bare.put(other, bytes, signal);
    const flipped = `${NAME}s`;
    bytes[25]! ^= 1;
    await bare.put(flipped, bytes, signal);
    for (const [name, with_] of [
      [NAME, randomBytes(32)],
      [other, key],
      [flipped, key],
    ] as const) {
      const failed = await withSealing(bare, with_)
        .get(name, null, signal)
        .catch((error: unknown) => error);
      expect(failed).to.be.instanceOf(PermanentError).with.property('code', 'damaged_object');
    }
  });

  it('leave packs and what collection needs without the key as they are', async () => {
    const bare = createMemoryBackend();
    const sealed = withSealing(bare, randomBytes(32));
    for (const name of [
      'pool.json',
      'packs/aa/aa',
      'gc/00000001',
      'condemned/00000001',
      'acks/00000001/block-0000000000000001',
    ]) {
      await sealed.put(name, Buffer.from('as it is'), signal);
      expect((await bare.get(name, null, signal)).toString()).to.equal('as it is');
    }
  });
});

describe("an encrypted pool's keys", () => {
  it('differ by purpose and by record, and follow from the pool key alone', () => {
    const hex = randomBytes(32).toString('hex');
    const [keys, again] = [poolKeys(hex), poolKeys(hex)];
    const nonce = randomBytes(16);
    const made = [keys.digest, keys.objects, keys.record(nonce), keys.record(randomBytes(16))].map((key) => key.toString('hex'));
    expect(new Set(made).size).to.equal(4);
    expect(again.record(nonce).equals(keys.record(nonce))).to.equal(true);
    expect(again.check).to.equal(keys.check);
    expect(hex).not.to.include(keys.check);
    expect(() => poolKeys('short'))
      .to.throw(PermanentError)
      .with.property('code', 'wrong_pool_key');
  });
});
