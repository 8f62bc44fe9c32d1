/** What every pool must do. Each driver's own test file runs it: `describePool('raw over fs', async () => …)`. */
import { CancelledError, FencedError, PermanentError } from '@openservice/domain';
import type { BlockReader, BlockStat, BlockWriter, Pool, WriteSession } from '@openservice/pools';
import { expect } from 'chai';
import { chunkBytes, count, digestOf, fill, putChunk, rootOf, type TestBlock } from './content.ts';

export interface PoolUnderTest {
  /** A new instance on the same place, as after a restart of the process. */
  open(): Pool;
  /** Damages the stored bytes of some data chunk of a committed block. */
  corrupt(blockId: string): Promise<void>;
  destroy(): Promise<void>;
}

const KIB = 1024;
const GIB = KIB * KIB * KIB;
const BLOCK: TestBlock = { size: 40 * 256 * KIB + 777, chunkSize: 256 * KIB, data: new Set([0, 1, 2, 7, 8, 20, 33, 39, 40]) };
const BLOCK_ROOT = '46fe6e39597e4e0b5dca751366ca5a9fe54af7e8e9af8431fd22772458789cd8';

export function describePool(name: string, make: () => Promise<PoolUnderTest>): void {
  describe(`pool ${name}`, function () {
    this.timeout(60_000);
    const signal = new AbortController().signal;
    const pools: Pool[] = [];
    let place: PoolUnderTest;
    let pool: Pool;
    let serial = 0;

    before(async () => {
      place = await make();
      pool = reopened();
      await pool.probe({ create: true }, signal);
    });
    after(async () => {
      for (const opened of pools) await opened.close();
      await place?.destroy();
    });

    const reopened = (): Pool => {
      const opened = place.open();
      pools.push(opened);
      return opened;
    };
    const newBlock = (): string => `block-${String(++serial).padStart(4, '0')}`;
    const session = (blockId: string, attempt = 1, block: TestBlock = BLOCK, jobId = `job-of-${blockId}`): WriteSession => ({
      blockId,
      size: block.size,
      chunkSize: block.chunkSize,
      jobId,
      attempt,
      fence: attempt,
    });
    const store = async (blockId: string, block: TestBlock = BLOCK): Promise<void> => {
      const writer = await pool.openWriter(session(blockId, 1, block), signal);
      await fill(writer, block);
      await writer.prepare(signal);
      await writer.commit(signal);
      await writer.close();
    };

    it('is ready again once it was marked, and knows that another pool is none of its own', async () => {
      await reopened().probe({ create: true }, signal);
      const probe = await reopened().probe({ create: false }, signal);
      expect(probe.fencing).to.be.oneOf(['strict', 'advisory']);
    });

    it('gives back a block with holes and an odd end, under the root digest that its content has everywhere', async () => {
      const blockId = newBlock();
      await store(blockId);
      const stat = (await reopened().stat(blockId, signal)) as BlockStat;
      expect(stat.rootDigest.toString('hex')).to.equal(BLOCK_ROOT);
      expect(rootOf(BLOCK).toString('hex')).to.equal(BLOCK_ROOT);
      expect(stat).to.include({ blockId, size: BLOCK.size, chunkSize: BLOCK.chunkSize });
      expect(stat.storedBytes).to.be.greaterThan(0).and.lessThan(BLOCK.size);
      const reader = await reopened().openReader(blockId, signal);
      expect(reader.rootDigest.equals(stat.rootDigest)).to.equal(true);
      await expectContent(reader, BLOCK);
      await reader.close();
    });

    it('reads any range across chunks and holes, and nothing past the end', async () => {
      const blockId = newBlock();
      await store(blockId);
      const whole = Buffer.concat(Array.from({ length: count(BLOCK) }, (_, i) => chunkBytes(BLOCK, i)));
      const reader = await pool.openReader(blockId, signal);
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

    it('tells the extents from any chunk on', async () => {
      const blockId = newBlock();
      await store(blockId);
      const reader = await pool.openReader(blockId, signal);
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

    for (const size of [1, 511, 4096, 256 * KIB, 256 * KIB + 1]) {
      it(`keeps a block of ${size} bytes`, async () => {
        const block = { size, chunkSize: 256 * KIB, data: new Set([0]) };
        const blockId = newBlock();
        await store(blockId, block);
        const reader = await pool.openReader(blockId, signal);
        await expectContent(reader, block);
        expect(reader.rootDigest.equals(rootOf(block))).to.equal(true);
        await reader.close();
      });
    }

    it('takes chunks of zeros as holes, whatever way they come', async () => {
      const block = { size: BLOCK.size, chunkSize: BLOCK.chunkSize, data: new Set<number>() };
      const blockId = newBlock();
      const writer = await pool.openWriter(session(blockId, 1, block), signal);
      for (let i = 0; i < 8; i++) await putChunk(writer, block, i);
      writer.hole(8, count(block) - 8);
      expect((await writer.prepare(signal)).rootDigest.equals(rootOf(block))).to.equal(true);
      await writer.commit(signal);
      await writer.close();
      const reader = await pool.openReader(blockId, signal);
      await expectContent(reader, block);
      await reader.close();
    });

    it('takes chunks out of order, many at once, and the same one twice', async () => {
      const blockId = newBlock();
      const writer = await pool.openWriter(session(blockId), signal);
      const order = [...BLOCK.data].reverse();
      await Promise.all([...order, ...order].map((index) => putChunk(writer, BLOCK, index)));
      await putChunk(writer, BLOCK, 7);
      await fill(writer, BLOCK);
      expect((await writer.prepare(signal)).rootDigest.toString('hex')).to.equal(BLOCK_ROOT);
      await writer.commit(signal);
      await writer.close();
      await expectStored(blockId);
    });

    it('leaves the bytes given to put alone, and does not need them after', async () => {
      const blockId = newBlock();
      const writer = await pool.openWriter(session(blockId), signal);
      const buffer = Buffer.alloc(BLOCK.chunkSize);
      for (const index of BLOCK.data) {
        const bytes = chunkBytes(BLOCK, index);
        bytes.copy(buffer);
        await writer.put(index, digestOf(bytes), buffer.subarray(0, bytes.length), signal);
        expect(buffer.subarray(0, bytes.length).equals(bytes)).to.equal(true);
        buffer.fill(0xee);
      }
      await finish(writer);
      await expectStored(blockId);
    });

    it('has what was checkpointed after a close without commit, and needs only the rest', async () => {
      const blockId = newBlock();
      const first = await pool.openWriter(session(blockId), signal);
      for (const index of [0, 1, 7]) await putChunk(first, BLOCK, index);
      first.hole(3, 4);
      await first.checkpoint(signal);
      for (const index of [0, 1, 3, 6, 7]) expect(first.has(index), `chunk ${index}`).to.equal(true);
      await putChunk(first, BLOCK, 20);
      await first.close();
      const second = await reopened().openWriter(session(blockId), signal);
      for (const index of [0, 1, 3, 4, 5, 6, 7]) expect(second.has(index), `chunk ${index}`).to.equal(true);
      expect(second.has(2)).to.equal(false);
      const put = await fill(second, BLOCK);
      expect(put).to.not.include.members([0]);
      expect((await second.prepare(signal)).rootDigest.toString('hex')).to.equal(BLOCK_ROOT);
      await second.commit(signal);
      await second.close();
      await expectStored(blockId);
    });

    it('lets a higher attempt go on while the older one has not ended, and refuses the older all it tries', async () => {
      const blockId = newBlock();
      const old = await pool.openWriter(session(blockId, 1), signal);
      await putChunk(old, BLOCK, 0);
      await putChunk(old, BLOCK, 1);
      await old.checkpoint(signal);
      const next = await reopened().openWriter(session(blockId, 2), signal);
      expect(next.has(0) && next.has(1)).to.equal(true);
      expect(await thrown(putChunk(old, BLOCK, 2).then(() => old.checkpoint(signal)))).to.be.instanceOf(FencedError);
      expect(await thrown(old.checkpoint(signal))).to.be.instanceOf(FencedError);
      expect(await thrown(old.commit(signal))).to.be.instanceOf(FencedError);
      expect(await thrown(old.abort(signal))).to.be.instanceOf(FencedError);
      expect(await thrown(pool.remove(blockId, 1, signal))).to.be.instanceOf(FencedError);
      expect(await thrown(pool.openWriter(session(blockId, 1), signal))).to.be.instanceOf(FencedError);
      expect(await pool.stat(blockId, signal)).to.equal(null);
      await old.close();
      await fill(next, BLOCK);
      await finish(next);
      await expectStored(blockId);
    });

    it('refuses an old attempt that had prepared all and only has to commit', async () => {
      const blockId = newBlock();
      const old = await pool.openWriter(session(blockId, 1), signal);
      await fill(old, BLOCK);
      await old.prepare(signal);
      const next = await reopened().openWriter(session(blockId, 2), signal);
      expect(await thrown(old.commit(signal))).to.be.instanceOf(FencedError);
      expect(await reopened().stat(blockId, signal)).to.equal(null);
      await old.close();
      await finish(next);
      await expectStored(blockId);
    });

    it('shows nothing of a block that is prepared but not committed', async () => {
      const blockId = newBlock();
      const writer = await pool.openWriter(session(blockId), signal);
      await fill(writer, BLOCK);
      const prepared = await writer.prepare(signal);
      expect((await writer.prepare(signal)).rootDigest.equals(prepared.rootDigest)).to.equal(true);
      for (const seen of [pool, reopened()]) {
        expect(await seen.stat(blockId, signal)).to.equal(null);
        expect(await codeOf(seen.openReader(blockId, signal))).to.equal('block_not_in_pool');
        expect(await listed(seen)).to.not.include(blockId);
      }
      await writer.close();
      const again = await reopened().openWriter(session(blockId, 2), signal);
      expect(await fill(again, BLOCK), 'all was durable').to.deep.equal([]);
      await finish(again);
      await expectStored(blockId);
    });

    it('does not prepare a block that lacks a chunk', async () => {
      const blockId = newBlock();
      const writer = await pool.openWriter(session(blockId), signal);
      await putChunk(writer, BLOCK, 0);
      expect(await thrown(writer.prepare(signal))).to.be.instanceOf(PermanentError);
      expect(await thrown(writer.commit(signal))).to.be.instanceOf(PermanentError);
      await writer.abort(signal);
      await writer.close();
      expect(await pool.stat(blockId, signal)).to.equal(null);
    });

    it('commits twice, and again by a command that came twice', async () => {
      const blockId = newBlock();
      const writer = await pool.openWriter(session(blockId), signal);
      await fill(writer, BLOCK);
      const prepared = await writer.prepare(signal);
      await writer.commit(signal);
      await writer.commit(signal);
      await writer.close();
      const again = await reopened().openWriter(session(blockId), signal);
      for (let index = 0; index < count(BLOCK); index++) expect(again.has(index)).to.equal(true);
      expect((await again.prepare(signal)).rootDigest.equals(prepared.rootDigest)).to.equal(true);
      await again.commit(signal);
      await again.close();
      await expectStored(blockId);
    });

    it('refuses another job that would write a block that is there', async () => {
      const blockId = newBlock();
      await store(blockId);
      expect(await codeOf(pool.openWriter(session(blockId, 5, BLOCK, 'job-other'), signal))).to.equal('block_exists');
      await expectStored(blockId);
    });

    it('drops what another job left uncommitted', async () => {
      const blockId = newBlock();
      const first = await pool.openWriter(session(blockId, 1), signal);
      await fill(first, { ...BLOCK, data: new Set([0, 5, 6, 12]) });
      await first.checkpoint(signal);
      await first.close();
      const second = await reopened().openWriter(session(blockId, 2, BLOCK, 'job-other'), signal);
      for (let index = 0; index < count(BLOCK); index++) expect(second.has(index)).to.equal(false);
      await fill(second, BLOCK);
      await finish(second);
      await expectStored(blockId);
    });

    it('leaves nothing after an abort, which may be repeated, and begins anew after it', async () => {
      const blockId = newBlock();
      const writer = await pool.openWriter(session(blockId, 1), signal);
      await fill(writer, BLOCK);
      await writer.prepare(signal);
      await writer.abort(signal);
      await writer.abort(signal);
      await writer.close();
      expect(await reopened().stat(blockId, signal)).to.equal(null);
      const next = await reopened().openWriter(session(blockId, 2), signal);
      expect(next.has(0)).to.equal(false);
      await fill(next, BLOCK);
      await finish(next);
      await expectStored(blockId);
    });

    it('removes a block, again without complaint, and keeps the fence', async () => {
      const blockId = newBlock();
      await store(blockId);
      await pool.remove(blockId, 3, signal);
      await reopened().remove(blockId, 3, signal);
      expect(await pool.stat(blockId, signal)).to.equal(null);
      expect(await listed(pool)).to.not.include(blockId);
      expect(await codeOf(pool.openReader(blockId, signal))).to.equal('block_not_in_pool');
      expect(await thrown(pool.openWriter(session(blockId, 2), signal))).to.be.instanceOf(FencedError);
      const again = await pool.openWriter(session(blockId, 4), signal);
      expect(again.has(0)).to.equal(false);
      await fill(again, BLOCK);
      await finish(again);
      await expectStored(blockId);
    });

    it('removes a block that never was, and one that is being written', async () => {
      const never = newBlock();
      await pool.remove(never, 7, signal);
      expect(await thrown(pool.openWriter(session(never, 6), signal))).to.be.instanceOf(FencedError);
      const open = newBlock();
      const writer = await pool.openWriter(session(open, 1), signal);
      await fill(writer, BLOCK);
      await reopened().remove(open, 2, signal);
      expect(await thrown(writer.commit(signal))).to.be.instanceOf(FencedError);
      await writer.close();
      expect(await pool.stat(open, signal)).to.equal(null);
    });

    it('keeps one block whole when another of the same content is removed', async () => {
      const [one, other] = [newBlock(), newBlock()];
      await store(one);
      await store(other);
      await pool.remove(one, 2, signal);
      await expectStored(other);
    });

    it('lists the committed blocks in order of id', async () => {
      const mine = [newBlock(), newBlock(), newBlock()];
      const small = { size: 5000, chunkSize: 4096, data: new Set([1]) };
      for (const blockId of [...mine].reverse()) await store(blockId, small);
      const all = await listed(reopened());
      expect(all).to.include.members(mine);
      expect(all).to.deep.equal([...all].sort());
    });

    it('notices damaged bytes', async () => {
      const blockId = newBlock();
      await store(blockId);
      await place.corrupt(blockId);
      const error = await thrown(readAll(reopened(), blockId));
      expect(error).to.be.instanceOf(PermanentError);
      expect((error as PermanentError).code).to.match(/^damaged_/);
    });

    it('does nothing once the signal has fired', async () => {
      const blockId = newBlock();
      await store(blockId);
      const stopped = AbortSignal.abort();
      const reader = await pool.openReader(blockId, signal);
      const other = newBlock();
      const writer = await pool.openWriter(session(other), signal);
      const target = Buffer.alloc(BLOCK.chunkSize);
      const bytes = chunkBytes(BLOCK, 0);
      for (const call of [
        () => pool.stat(blockId, stopped),
        () => pool.openReader(blockId, stopped),
        () => pool.openWriter(session(newBlock()), stopped),
        () => pool.remove(blockId, 9, stopped),
        () => reader.readChunk(0, target, stopped),
        () => reader.read(0, 10, stopped),
        () => writer.put(0, digestOf(bytes), bytes, stopped),
        () => writer.checkpoint(stopped),
        () => writer.prepare(stopped),
      ]) {
        expect(await thrown(call()), String(call)).to.be.instanceOf(CancelledError);
      }
      await reader.close();
      await fill(writer, BLOCK);
      await finish(writer);
      await expectStored(other);
      await expectStored(blockId);
    });

    it('keeps 256 GiB with a few chunks of data for about the price of the data', async () => {
      const block = { size: 256 * GIB + 5, chunkSize: 1024 * KIB, data: new Set([0, 131_072, 262_143]) };
      const blockId = newBlock();
      const before = pool;
      const writer = await before.openWriter(session(blockId, 1, block), signal);
      for (const index of block.data) await putChunk(writer, block, index);
      writer.hole(1, 131_071);
      writer.hole(131_073, 131_070);
      writer.hole(262_144, 1);
      await writer.checkpoint(signal);
      const prepared = await writer.prepare(signal);
      await writer.commit(signal);
      expect(prepared.storedBytes).to.be.lessThan(16 * KIB * KIB);
      expect(writer.bytesSent).to.be.lessThan(24 * KIB * KIB);
      await writer.close();
      const reader = await reopened().openReader(blockId, signal);
      const target = Buffer.alloc(block.chunkSize);
      for (const index of block.data) {
        await reader.readChunk(index, target, signal);
        expect(target.equals(chunkBytes(block, index))).to.equal(true);
      }
      expect((await reader.read(block.size - 5, 5, signal)).equals(Buffer.alloc(5))).to.equal(true);
      const found: number[] = [];
      for await (const range of reader.extents(0, signal)) found.push(range.count);
      expect(found.reduce((sum, n) => sum + n, 0)).to.be.lessThan(100_000);
      await reader.close();
    });

    async function finish(writer: BlockWriter): Promise<void> {
      await fill(writer, BLOCK);
      await writer.prepare(signal);
      await writer.commit(signal);
      await writer.close();
    }

    async function expectStored(blockId: string): Promise<void> {
      const reader = await reopened().openReader(blockId, signal);
      expect(reader.rootDigest.toString('hex')).to.equal(BLOCK_ROOT);
      await expectContent(reader, BLOCK);
      await reader.close();
    }

    async function expectContent(reader: BlockReader, block: TestBlock): Promise<void> {
      expect(reader).to.include({ size: block.size, chunkSize: block.chunkSize });
      const target = Buffer.alloc(block.chunkSize);
      for (let index = 0; index < count(block); index++) {
        const expected = chunkBytes(block, index);
        target.fill(0xaa);
        const digest = await reader.readChunk(index, target, signal);
        expect(target.subarray(0, expected.length).equals(expected), `chunk ${index}`).to.equal(true);
        expect(digest.equals(digestOf(expected)), `digest of chunk ${index}`).to.equal(true);
        expect(target.subarray(expected.length).every((byte) => byte === 0xaa)).to.equal(true);
      }
    }

    async function readAll(from: Pool, blockId: string): Promise<void> {
      const reader = await from.openReader(blockId, signal);
      try {
        await expectContent(reader, BLOCK);
      } finally {
        await reader.close();
      }
    }

    async function listed(from: Pool): Promise<string[]> {
      const found: string[] = [];
      for await (const stat of from.list(signal)) found.push(stat.blockId);
      return found;
    }
  });
}

async function thrown(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => null,
    (error: unknown) => error,
  );
}

async function codeOf(call: Promise<unknown>): Promise<unknown> {
  return ((await thrown(call)) as { code?: unknown } | null)?.code;
}
