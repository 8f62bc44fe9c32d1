/** The base of a live disk through a store that fails, hangs, goes and comes back; and disks that stand still together. */
import { setImmediate as turn } from 'node:timers/promises';
import { newId, PermanentError, TransientError } from '@openservice/domain';
import type { BlockReader, Pool } from '@openservice/pools';
import type { BlockRef } from '@openservice/protocol';
import { waitFor } from '@openservice/testkit';
import { expect } from 'chai';
import { BaseReader } from '../src/mounts/base-reader.ts';
import { LiveBench, never } from './instances.support.ts';
import { failure } from './jobs-bench.ts';

const SIZE = 1_000_000;
const CHUNK = 65_536;
const ROOT = Buffer.alloc(32, 7);

/** A pool of one block whose bytes are all 5, and which does as it is told. */
class Store {
  /** Opening fails so. */
  closedBy: Error | null = null;
  /** What reads do; null: they answer. */
  reading: ((signal: AbortSignal) => Promise<void>) | null = null;
  opened = 0;
  open = 0;
  /** Reads of a reader that was closed. */
  astray = 0;

  async openReader(): Promise<BlockReader> {
    if (this.closedBy !== null) throw this.closedBy;
    this.opened++;
    this.open++;
    let closed = false;
    const reading = async () => this.reading?.(never);
    return {
      size: SIZE,
      chunkSize: CHUNK,
      rootDigest: ROOT,
      read: async (_offset: number, length: number, signal: AbortSignal) => {
        await this.reading?.(signal);
        await turn();
        if (closed) this.astray++;
        return Buffer.alloc(length, 5);
      },
      extents: async function* (from: number) {
        await reading();
        for (let first = from + (from % 2); first < Math.ceil(SIZE / CHUNK); first += 2) yield { first, count: 1 };
      },
      readChunk: () => Promise.reject(new Error('nobody reads chunks here')),
      close: async () => {
        closed = true;
        this.open--;
      },
    };
  }
}

describe('the base of a live disk', () => {
  let store: Store;
  let base: BaseReader;
  const block: BlockRef = { id: newId('block'), size: SIZE, chunk_size: CHUNK, root_digest: ROOT.toString('hex') };
  const away = new TransientError('unreachable', 'The store is away.');
  beforeEach(() => {
    store = new Store();
    base = new BaseReader(block, newId('pool'), { pool: async () => store as unknown as Pool, patienceMs: 500, lookMs: 20 });
  });
  afterEach(async () => {
    await base.close();
    expect(store.open).to.equal(0);
    expect(store.astray).to.equal(0);
  });
  const read = () => base.read(0, 10, never);

  it('is opened once for many reads, and anew after one has failed, under none of the others', async () => {
    await Promise.all(Array.from({ length: 50 }, read));
    expect(store.opened).to.equal(1);
    let left = 20;
    store.reading = async () => {
      if (left-- > 0) throw away;
    };
    await base.close();
    base = new BaseReader(block, newId('pool'), { pool: async () => store as unknown as Pool, patienceMs: 5000, lookMs: 20 });
    const all = await Promise.all(Array.from({ length: 50 }, read));
    expect(all.every((bytes) => bytes.equals(Buffer.alloc(10, 5)))).to.equal(true);
    expect(base.trouble).to.equal(null);
  });

  it('that is away fails in time, says so, and is found again without being read', async () => {
    store.closedBy = away;
    const began = performance.now();
    expect(await failure(read())).to.include({ code: 'unreachable' });
    expect(performance.now() - began).to.be.within(100, 5000);
    expect(base.trouble).to.contain('away');
    store.closedBy = null;
    await waitFor('the store to be found', () => base.trouble === null);
    expect((await read()).length).to.equal(10);
  });

  it('that hangs fails in time, for all who wait', async () => {
    store.reading = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const began = performance.now();
    const failed = await Promise.all(Array.from({ length: 10 }, () => failure(read())));
    expect(failed.every(({ code }) => code === 'unreachable')).to.equal(true);
    expect(performance.now() - began).to.be.below(5000);
    store.reading = null;
    expect((await read()).length).to.equal(10);
  });

  it('with a damaged place is read on elsewhere, and is in no trouble', async () => {
    store.reading = async () => {
      throw new PermanentError('damaged_chunk', 'Chunk 0 is damaged.');
    };
    expect(await failure(read())).to.include({ code: 'damaged_chunk' });
    expect(base.trouble).to.equal(null);
    expect(store.opened).to.equal(1);
  });

  it('that is another block is refused', async () => {
    const other = new BaseReader({ ...block, root_digest: '0'.repeat(64) }, newId('pool'), {
      pool: async () => store as unknown as Pool,
      patienceMs: 500,
    });
    expect(await failure(other.prove(never))).to.include({ code: 'digest_mismatch' });
    expect(await failure(other.read(0, 1, never))).to.include({ code: 'digest_mismatch' });
    await other.close();
  });

  it('stops a read whose signal fires, and no other', async () => {
    const held: (() => void)[] = [];
    store.reading = (signal) =>
      new Promise<void>((resolve, reject) => {
        held.push(resolve);
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    const stop = new AbortController();
    const other = read();
    const stopped = failure(base.read(0, 10, stop.signal));
    await waitFor('both to be under way', () => held.length === 2);
    stop.abort(new TransientError('told', 'Told to stop.'));
    expect(await stopped).to.include({ code: 'told' });
    held[0]!();
    expect((await other).length).to.equal(10);
    expect(store.opened).to.equal(1);
  });

  it('tells where its data lies, from any place on, over failures in between', async () => {
    let passes = 0;
    store.reading = async () => {
      if (passes++ === 0) throw away;
    };
    const all: { offset: number; length: number }[] = [];
    for await (const range of base.data(CHUNK * 3 + 5, never)) all.push(range);
    const expected = [];
    for (let first = 4; first * CHUNK < SIZE; first += 2)
      expected.push({ offset: first * CHUNK, length: Math.min(CHUNK, SIZE - first * CHUNK) });
    expect(all).to.deep.equal(expected);
  });
});

describe('disks of one instance', function () {
  this.timeout(60_000);

  it('are held still at one moment: no write is there without those that were answered before it', async () => {
    const live = await LiveBench.make();
    try {
      const block = await live.bench.imported();
      const id = await live.loaded([block, block, block]);
      const instance = live.life.instances.get(id);
      let over = false;
      const writer = (async () => {
        const bytes = Buffer.alloc(4);
        for (let count = 1; !over; count++) {
          bytes.writeUInt32LE(count);
          for (const { exported } of instance.disks) await exported.device.write(4096, Buffer.from(bytes), false);
        }
      })();
      let last = 0;
      for (let i = 0; i < 30; i++) {
        const frozen = await instance.freeze([2, 1, 0]);
        const counts: number[] = [];
        for (const { device } of frozen.toReversed()) {
          const bytes = Buffer.alloc(4);
          await device.read(4096, bytes);
          counts.push(bytes.readUInt32LE(0));
        }
        // The writer goes from disk to disk: each has what the next one has, or one more.
        if (i > 0) {
          expect(counts[0]! - counts[1]!, counts.join(', ')).to.be.within(0, 1);
          expect(counts[1]! - counts[2]!, counts.join(', ')).to.be.within(0, 1);
          expect(counts[0]! - counts[2]!, counts.join(', ')).to.be.within(0, 1);
          last = counts[2]!;
        }
        for (const disk of frozen) await disk.release();
      }
      over = true;
      await writer;
      expect(last).to.be.greaterThan(0);
    } finally {
      await live.close();
    }
  });
});
