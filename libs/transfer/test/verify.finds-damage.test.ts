import { PermanentError, TransientError } from '@openservice/domain';
import { HOLE_DIGEST, RootHasher } from '@openservice/pools';
import { verifySource } from '@openservice/transfer';
import { expect } from 'chai';
import { CountingSource } from './fakes.ts';

const never = new AbortController().signal;
const SIZE = 300 * 4096 - 5;

const disk = () =>
  new CountingSource(SIZE, 4096, [
    { first: 2, count: 200 },
    { first: 290, count: 10 },
  ]);

function rootOfDisk(): Buffer {
  const hasher = new RootHasher({ size: SIZE, chunkSize: 4096 });
  for (let i = 0; i < 300; i++) {
    const data = (i >= 2 && i < 202) || i >= 290;
    hasher.update(data ? Buffer.alloc(32, (i % 250) + 1) : HOLE_DIGEST);
  }
  return hasher.digest();
}

describe('verifySource', () => {
  it('computes the root in order though chunks come out of order', async () => {
    const source = disk();
    source.onRead = async (index) => {
      if (index % 3 === 0) await new Promise(setImmediate);
    };
    const report = await verifySource({ source, expectedRoot: rootOfDisk(), signal: never });
    expect(report).to.deep.include({ intact: true, damage: [], damagedChunks: 0 });
  });

  it('goes on past damage, and joins neighbours', async () => {
    const source = disk();
    const bad = new Set([5, 6, 7, 150, 299]);
    source.onRead = async (index) => {
      if (bad.has(index)) throw new PermanentError('damaged_chunk', 'A stored chunk is damaged.');
    };
    const report = await verifySource({ source, expectedRoot: rootOfDisk(), signal: never });
    expect(source.reads).to.have.length(210);
    expect(report).to.deep.include({ intact: false, rootDigest: null, damagedChunks: 5 });
    expect(report.damage).to.deep.equal([
      { first: 5, count: 3 },
      { first: 150, count: 1 },
      { first: 299, count: 1 },
    ]);
  });

  it('lists a hundred ranges at most, and counts the rest', async () => {
    const source = new CountingSource(500 * 4096, 4096, [{ first: 0, count: 500 }]);
    source.onRead = async (index) => {
      if (index % 2 === 0) throw new PermanentError('damaged_chunk', 'A stored chunk is damaged.');
    };
    const report = await verifySource({ source, expectedRoot: HOLE_DIGEST, signal: never });
    expect(report.damage).to.have.length(100);
    expect(report.damagedChunks).to.equal(250);
  });

  it('is not intact when whole chunks make up another disk', async () => {
    const report = await verifySource({ source: disk(), expectedRoot: HOLE_DIGEST, signal: never });
    expect(report).to.deep.include({ intact: false, damagedChunks: 0 });
    expect(report.rootDigest?.equals(rootOfDisk())).to.equal(true);
  });

  it('takes an unreachable store for no damage', async () => {
    const source = disk();
    source.onRead = async () => {
      throw new TransientError('unreachable', 'The store is away.');
    };
    const error: unknown = await verifySource({ source, expectedRoot: HOLE_DIGEST, signal: never }).catch((e: unknown) => e);
    expect(error).to.include({ code: 'unreachable' });
  });
});
