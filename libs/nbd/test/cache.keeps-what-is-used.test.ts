/** The cache that all stored disks of a node share, and the device over a stored disk. */
import { type DiskReader, ReaderDevice, UnitCache } from '@openservice/nbd';
import { expect } from 'chai';
import { Readahead } from '../src/cache/readahead.ts';
import { Random } from './support/random.ts';

const UNIT = 4096;
const MIB = 1024 * 1024;
const TIB = 1024 ** 4;

/** A store of patterns: byte `at` is a function of its place; counts what is asked of it. */
class PatternReader implements DiskReader {
  readonly size: number;
  readonly ranges: { offset: number; length: number }[];
  reads: { offset: number; length: number }[] = [];
  looks = 0;
  closed = false;
  /** Held back until it resolves. */
  gate: Promise<void> = Promise.resolve();
  failing = 0;

  constructor(size: number, ranges = [{ offset: 0, length: size }]) {
    this.size = size;
    this.ranges = ranges;
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    const target = Buffer.alloc(length);
    await this.readInto(offset, target, signal);
    return target;
  }

  async readInto(offset: number, target: Buffer, signal: AbortSignal): Promise<void> {
    this.reads.push({ offset, length: target.length });
    await this.gate;
    signal.throwIfAborted();
    if (this.failing > 0) {
      this.failing--;
      throw new Error('the store is away');
    }
    for (let at = 0; at < target.length; at++) target[at] = byteAt(offset + at);
    for (let at = offset; at < offset + target.length; at += UNIT)
      if (!this.#isData(at)) target.fill(0, at - offset, at - offset + UNIT);
  }

  async *data(from: number): AsyncIterable<{ offset: number; length: number }> {
    this.looks++;
    for (const range of this.ranges) {
      if (range.offset + range.length <= from) continue;
      const offset = Math.max(from, range.offset);
      yield { offset, length: range.offset + range.length - offset };
    }
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #isData(at: number): boolean {
    return this.ranges.some(({ offset, length }) => at >= offset && at < offset + length);
  }
}

function byteAt(at: number): number {
  return ((at % 251) + Math.floor(at / 4096)) & 255;
}

function pattern(offset: number, length: number): Buffer {
  return Buffer.alloc(length).map((_, at) => byteAt(offset + at)) as Buffer;
}

async function reading(device: ReaderDevice, offset: number, length: number): Promise<Buffer> {
  const target = Buffer.alloc(length, 255);
  if (!device.readNow(offset, target)) await device.read(offset, target);
  return target;
}

function deviceOf(reader: DiskReader, cacheBytes: number): { device: ReaderDevice; cache: UnitCache } {
  const cache = new UnitCache({ unitBytes: UNIT, maxBytes: cacheBytes });
  return { device: new ReaderDevice({ reader, cache }), cache };
}

describe('UnitCache', () => {
  const unit = (value: number): Buffer => Buffer.alloc(UNIT, value);
  const has = (cache: UnitCache, disk: number, units: number[]): boolean[] => units.map((one) => cache.has(disk, one));

  it('gives a unit that was used a second chance, and lets go of what was read once', () => {
    const cache = new UnitCache({ unitBytes: UNIT, maxBytes: 4 * UNIT });
    const disk = cache.newDisk();
    for (let i = 0; i < 4; i++) cache.put(disk, i, unit(i));
    const target = Buffer.alloc(10);
    for (const used of [0, 2]) expect(cache.copy(disk, used, 5, target)).to.equal(true);
    cache.put(disk, 10, unit(10));
    cache.put(disk, 11, unit(11));
    expect(has(cache, disk, [0, 1, 2, 3, 10, 11])).to.deep.equal([true, false, true, false, true, true]);
    expect(cache.copy(disk, 2, UNIT - 10, target) && target.every((byte) => byte === 2)).to.equal(true);
    expect(cache.bytes).to.equal(4 * UNIT);
  });

  it('keeps disks apart, and forgets one as a whole', () => {
    const cache = new UnitCache({ unitBytes: UNIT, maxBytes: 8 * UNIT });
    const [one, two] = [cache.newDisk(), cache.newDisk()];
    cache.put(one, 5, unit(1));
    cache.put(two, 5, unit(2));
    const target = Buffer.alloc(UNIT);
    expect(cache.copy(two, 5, 0, target) && target.equals(unit(2))).to.equal(true);
    cache.drop(one);
    expect([cache.has(one, 5), cache.has(two, 5), cache.bytes]).to.deep.equal([false, true, UNIT]);
  });

  it('room that is being filled is nobody else’s, and is seen only once it is filled', () => {
    const cache = new UnitCache({ unitBytes: UNIT, maxBytes: 2 * UNIT });
    const disk = cache.newDisk();
    const [first, second] = [cache.room()!, cache.room()!];
    expect(first.slot).not.to.equal(second.slot);
    expect(cache.room()).to.equal(null);
    cache.put(disk, 9, unit(9));
    expect(cache.has(disk, 9), 'there was no room').to.equal(false);
    first.bytes.fill(7);
    cache.filled(first.slot, disk, 3);
    cache.giveBack(second.slot);
    expect(cache.has(disk, 3)).to.equal(true);
    cache.put(disk, 4, unit(4));
    expect(has(cache, disk, [3, 4])).to.deep.equal([true, true]);
  });

  it('is right whatever is asked of it in whatever order', () => {
    const random = new Random(3);
    const cache = new UnitCache({ unitBytes: 16, maxBytes: 16 * 7 });
    const disks = [cache.newDisk(), cache.newDisk()];
    const target = Buffer.alloc(16);
    const put = new Map<string, number>();
    for (let i = 0; i < 20_000; i++) {
      const [disk, number] = [random.of(disks), random.below(12)];
      const what = random.below(20);
      if (what === 0) cache.drop(disk);
      else if (what < 10) {
        cache.put(disk, number, Buffer.alloc(16, i & 255));
        put.set(`${disk}/${number}`, i & 255);
      } else if (cache.copy(disk, number, 0, target))
        expect(target.every((byte) => byte === put.get(`${disk}/${number}`))).to.equal(true);
      expect(cache.bytes).to.be.at.most(16 * 7);
    }
  });
});

describe('ReaderDevice', () => {
  it('reads of one unit at the same time share one fetch', async () => {
    const reader = new PatternReader(8 * MIB);
    const { device } = deviceOf(reader, MIB);
    const { promise, resolve } = Promise.withResolvers<void>();
    reader.gate = promise;
    const reads = Array.from({ length: 20 }, (_, i) => reading(device, 4 * MIB + i * 100, 100));
    await new Promise(setImmediate);
    resolve();
    for (const [i, got] of (await Promise.all(reads)).entries())
      expect(got.equals(pattern(4 * MIB + i * 100, 100))).to.equal(true);
    expect(reader.reads).to.have.length(1);
    await reading(device, 4 * MIB + 2000, 10);
    expect(reader.reads, 'from the cache').to.have.length(1);
    await device.close();
    expect(reader.closed).to.equal(true);
  });

  it('a failure is told to all who wait, and not kept', async () => {
    const reader = new PatternReader(8 * MIB);
    const { device } = deviceOf(reader, MIB);
    reader.failing = 1;
    const outcomes = await Promise.allSettled([reading(device, 0, 100), reading(device, 200, 100)]);
    expect(outcomes.map(({ status }) => status)).to.deep.equal(['rejected', 'rejected']);
    expect((await reading(device, 0, 100)).equals(pattern(0, 100))).to.equal(true);
    await device.close();
  });

  for (const cacheBytes of [UNIT, 3 * UNIT, 600 * UNIT]) {
    it(`is right with a cache of ${cacheBytes / UNIT} units, whatever is read at the same time`, async () => {
      const size = 3 * MIB + 517;
      const ranges = [
        { offset: 0, length: MIB },
        { offset: MIB + 8 * UNIT, length: 3 * UNIT },
        { offset: 2 * MIB, length: size - 2 * MIB },
      ];
      const reader = new PatternReader(size, ranges);
      const { device, cache } = deviceOf(reader, cacheBytes);
      const expected = await reader.read(0, size, new AbortController().signal);
      const random = new Random(cacheBytes);
      for (let round = 0; round < 60; round++) {
        await Promise.all(
          Array.from({ length: 12 }, async () => {
            const offset = random.chance(50) ? random.below(size) : (round * 40_000) % size;
            const length = Math.min(size - offset, 1 + random.below(random.chance(80) ? 9000 : 300_000));
            const got = await reading(device, offset, length);
            expect(got.equals(expected.subarray(offset, offset + length)), `${offset} + ${length}`).to.equal(true);
          }),
        );
        expect(cache.bytes).to.be.at.most(cacheBytes);
      }
      await device.close();
      expect(cache.bytes).to.equal(0);
    });
  }

  it('who reads on is read ahead for, in bulks; who jumps is not', async () => {
    const reader = new PatternReader(64 * MIB);
    const { device } = deviceOf(reader, 32 * MIB);
    for (let at = 0; at < 8 * MIB; at += 64 * 1024) await reading(device, at, 64 * 1024);
    const bulks = reader.reads.filter(({ length }) => length === MIB).length;
    expect(bulks).to.be.greaterThan(6);
    expect(reader.reads.length, 'reads of the store for 128 of the client').to.be.lessThan(48);
    reader.reads = [];
    const random = new Random(9);
    for (let i = 0; i < 60; i++) await reading(device, 16 * MIB + random.below(40) * MIB + 123 * UNIT, 100);
    expect(reader.reads.filter(({ offset, length }) => length === MIB && offset >= 16 * MIB)).to.deep.equal([]);
    await device.close();
  });

  it('is closed in the middle of reads: they end, and nothing of the disk is left', async () => {
    const reader = new PatternReader(8 * MIB);
    const { device, cache } = deviceOf(reader, MIB);
    const { promise, resolve } = Promise.withResolvers<void>();
    reader.gate = promise;
    const reads = Promise.allSettled([reading(device, 0, 100), reading(device, MIB, 100)]);
    const closing = device.close();
    resolve();
    await closing;
    expect((await reads).every(({ status }) => status === 'rejected')).to.equal(true);
    expect(cache.bytes).to.equal(0);
  });

  it('tells the holes of a disk of 64 TiB a page at a time, and takes no memory for it', async () => {
    const size = 64 * TIB;
    const ranges = [
      { offset: 5 * TIB + 3 * MIB, length: 2 * MIB },
      { offset: 63 * TIB, length: 4096 },
    ];
    const reader = new PatternReader(size, ranges);
    const { device } = deviceOf(reader, MIB);
    global.gc?.();
    const before = process.memoryUsage().heapUsed;
    const data: { offset: number; length: number }[] = [];
    const step = 4 * 1024 ** 3 - MIB;
    for (let at = 0; at < size; ) {
      const found = await device.extents(at, Math.min(step, size - at), 4096);
      expect(found.length).to.be.greaterThan(0);
      for (const { length, zero } of found) {
        if (!zero) data.push({ offset: at, length });
        at += length;
      }
    }
    expect(data).to.deep.equal(ranges);
    expect(process.memoryUsage().heapUsed - before).to.be.lessThan(32 * MIB);
    expect((await reading(device, 40 * TIB, 8192)).every((byte) => byte === 0)).to.equal(true);
    expect((await reading(device, 63 * TIB, 4096)).equals(pattern(63 * TIB, 4096))).to.equal(true);
    expect(reader.reads).to.have.length(1);
    await device.close();
  }).timeout(60_000);
});

describe('Readahead', () => {
  it('tells streams that go side by side apart, and each bulk once', () => {
    const ahead = new Readahead(100_000, 16);
    const wanted = new Map<number, number[]>();
    for (let step = 0; step < 200; step++) {
      for (const start of [0, 20_000, 40_000, 60_000]) {
        if (!ahead.advance(start + step, start + step)) continue;
        for (const bulk of ahead.wanted()) wanted.set(start, [...(wanted.get(start) ?? []), bulk]);
      }
    }
    for (const [start, bulks] of wanted) {
      expect(new Set(bulks).size, `from ${start}`).to.equal(bulks.length);
      expect(bulks[0]).to.equal(Math.floor((start + 2) / 16));
      expect(bulks.at(-1)! * 16 - start, 'ahead of where it is').to.be.within(200, 200 + 7 * 16);
    }
    expect([...wanted.keys()]).to.have.length(4);
  });
});
