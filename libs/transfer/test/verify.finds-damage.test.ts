import { PermanentError, TransientError } from '@openservice/domain';
import { HOLE_DIGEST, RootHasher } from '@openservice/pools';
import { chunkIsWhole, verifySource } from '@openservice/transfer';
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

  it('reads only a sample, another each time, spread over the whole', async () => {
    const seen = new Set<number>();
    for (let run = 0; run < 20; run++) {
      const source = new CountingSource(1000 * 4096, 4096, [{ first: 0, count: 1000 }]);
      const progress: number[] = [];
      const report = await verifySource({
        source,
        expectedRoot: HOLE_DIGEST,
        signal: never,
        sample: 0.1,
        onProgress: ({ bytesDone }) => progress.push(bytesDone),
      });
      expect(report).to.deep.include({ intact: true, rootDigest: null, readChunks: 100, damagedChunks: 0 });
      expect(source.reads.filter((index) => index < 500)).to.have.length(50);
      expect(progress.at(-1)).to.equal(1000 * 4096);
      for (const index of source.reads) seen.add(index);
    }
    // 20 runs would leave out a chunk with a chance of 0.9^20 each: some 120 of them.
    expect(seen.size).to.be.within(780, 960);
  });

  it('reads one chunk at least, and finds that it is damaged', async () => {
    const source = new CountingSource(5 * 4096, 4096, [{ first: 1, count: 3 }]);
    source.onRead = async () => {
      throw new PermanentError('damaged_chunk', 'A stored chunk is damaged.');
    };
    const report = await verifySource({ source, expectedRoot: HOLE_DIGEST, signal: never, sample: 0.000_001 });
    expect(report).to.deep.include({ intact: false, readChunks: 1, damagedChunks: 1 });
  });

  it('has damage repaired while it goes on, and believes it only when it has read it again', async () => {
    const source = disk();
    const bad = new Set([5, 150, 299]);
    source.onRead = async (index) => {
      if (bad.has(index)) throw new PermanentError('damaged_chunk', 'A stored chunk is damaged.');
    };
    const told: number[] = [];
    const verify = () =>
      verifySource({
        source,
        expectedRoot: rootOfDisk(),
        signal: never,
        onDamage: async (index) => {
          told.push(index);
          if (index === 5) bad.delete(index);
          return index !== 299;
        },
      });
    const report = await verify();
    expect(told).to.deep.equal([5, 150, 299]);
    expect(report).to.deep.include({ intact: false, repairedChunks: 1, damagedChunks: 2 });
    expect(await chunkIsWhole(source, 5, never)).to.equal(true);
    expect(await chunkIsWhole(source, 150, never)).to.equal(false);
    bad.delete(299);
    expect(report.damage).to.deep.equal([
      { first: 150, count: 1 },
      { first: 299, count: 1 },
    ]);
    bad.clear();
    expect(await verify()).to.deep.include({ intact: true, damagedChunks: 0 });
  });
});
