import { FencedError, newId } from '@openservice/domain';
import { jobParams } from '@openservice/protocol';
import { expect } from 'chai';
import { Bench, CHUNK, contextOf, failure, SIZE } from './jobs-bench.ts';

const never = new AbortController().signal;
const META = { name: 'disk', set_id: null, set_name: null, parent_block_id: null, created_at: '2026-11-24T00:00:00.000Z' };

describe('jobs about a pool', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.make();
  });
  afterEach(() => bench.close());

  describe('gc', () => {
    it('frees what a removed block alone used, and tells how much', async () => {
      const block = await bench.imported(bench.d);
      await bench.pools.get(bench.d)?.remove(block.id, 1_000_000, never);
      const result = await bench.handlers.gc.run(contextOf({ pool_id: bench.d }));
      expect(result.summary).to.include({ kept_objects: 0, damaged_blocks: 0, live_bytes: 0 });
      expect(result.summary?.freed_bytes).to.be.greaterThan(0);
      expect(result.summary?.removed_objects).to.be.greaterThan(0);
      expect(result).to.not.have.property('notes');
      const again = await bench.handlers.gc.run(contextOf({ pool_id: bench.d }));
      expect(again.summary?.freed_bytes).to.equal(0);
    });

    it('does not begin past the lease of the node', async () => {
      const context = contextOf({ pool_id: bench.d });
      context.assertLease = () => {
        throw new FencedError('lease lost');
      };
      expect(await failure(bench.handlers.gc.run(context))).to.include({ code: 'fenced' });
    });

    it('is stopped when the lease is lost on the way', async () => {
      let leased = true;
      const context = contextOf({ pool_id: bench.d });
      context.assertLease = () => {
        if (!leased) throw new FencedError('lease lost');
      };
      const pool = bench.pools.get(bench.d);
      if (pool === undefined) throw new Error('no pool');
      pool.collect = async (_options, signal) => {
        leased = false;
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true }));
        throw new Error('not reached');
      };
      expect(await failure(bench.handlers.gc.run(context))).to.include({ code: 'fenced' });
    });
  });

  describe('pool_verify', () => {
    const params = (pool: string) => jobParams.pool_verify.parse({ pool_id: pool });

    it('reads every block, and names the one that is damaged', async () => {
      const [whole, damaged] = [await bench.imported(), await bench.imported()];
      await bench.flipBit(bench.a, damaged.id);
      const context = contextOf(params(bench.a));
      const result = await bench.handlers.pool_verify.run(context);
      expect(result.summary).to.deep.equal({ blocks: 2, damaged_blocks: 1 });
      expect(result.verified).to.equal(false);
      expect(result.damage).to.have.length(1);
      expect(result.damage[0]).to.include({ pool_id: bench.a, block_id: damaged.id });
      expect(result.damage[0]?.message).to.contain(`Bytes ${7 * CHUNK} to `);
      expect(result.progress).to.include({ bytes_total: 2 * SIZE, bytes_done: 2 * SIZE });
      expect(whole.id).not.to.equal(damaged.id);
    });

    it('names a block whose files or manifest are gone, and reads the others', async () => {
      for (const pool of [bench.a, bench.d]) {
        const blocks = [await bench.imported(pool), await bench.imported(pool), await bench.imported(pool)].map(({ id }) => id);
        const lost = blocks.sort().slice(0, 2);
        for (const id of lost) await bench.lose(pool, id);
        const context = contextOf(params(pool));
        const result = await bench.handlers.pool_verify.run(context);
        expect(result).to.deep.include({ verified: false, summary: { blocks: 3, damaged_blocks: 2 } });
        expect(result.damage.map(({ block_id }) => block_id)).to.deep.equal(lost);
        expect(result.damage[0]?.message).to.contain('though nobody removed it');
        expect(result.progress).to.include({ bytes_total: SIZE, bytes_done: SIZE });
        const again = await bench.handlers.pool_verify.run(contextOf(params(pool), context));
        expect(again.summary).to.deep.equal({ blocks: 3, damaged_blocks: 2 });
      }
    });

    it('goes on behind the last block that was done', async () => {
      const blocks = [await bench.imported(), await bench.imported(), await bench.imported()].map(({ id }) => id).sort();
      const pool = bench.pools.get(bench.a);
      if (pool === undefined) throw new Error('no pool');
      const read: string[] = [];
      const openReader = pool.openReader.bind(pool);
      pool.openReader = (id, signal) => {
        read.push(id);
        return openReader(id, signal);
      };
      const first = contextOf(params(bench.a), null, {
        onProgress: () => {
          if (read.length === 2) throw new Error('died');
        },
      });
      expect((await failure(bench.handlers.pool_verify.run(first))).message).to.equal('died');
      const result = await bench.handlers.pool_verify.run(contextOf(params(bench.a), first));
      expect(read).to.deep.equal([blocks[0], blocks[1], blocks[1], blocks[2]]);
      expect(result).to.deep.include({ verified: true, summary: { blocks: 3, damaged_blocks: 0 } });
      expect(result.progress).to.include({ bytes_total: 3 * SIZE, bytes_done: 3 * SIZE });
    });

    it('does not call what was deleted meanwhile damaged', async () => {
      await bench.imported();
      const pool = bench.pools.get(bench.a);
      if (pool === undefined) throw new Error('no pool');
      const openReader = pool.openReader.bind(pool);
      pool.openReader = async (id, signal) => {
        await pool.remove(id, 1_000_000, never);
        return await openReader(id, signal);
      };
      const result = await bench.handlers.pool_verify.run(contextOf(params(bench.a)));
      expect(result).to.deep.include({ verified: true, damage: [], summary: { blocks: 0, damaged_blocks: 0 } });
    });
  });

  describe('rebuild', () => {
    it('tells the center of all blocks, those in the trash too, with what was kept of their rows', async () => {
      const id = newId('block');
      await bench.handlers.import.run(contextOf({ ...bench.importParams(id, bench.d), meta: META }));
      const trashed = await bench.imported(bench.d);
      await bench.pools.get(bench.d)?.trash(trashed.id, 1_000_000, never);
      const result = await bench.handlers.rebuild.run(contextOf({ pool_id: bench.d }));
      const told = bench.center.batches.flatMap(({ blocks }) => blocks);
      expect(told.map((block) => block.id)).to.have.members([id, trashed.id]);
      const kept = told.find((block) => block.id === id);
      expect(kept).to.deep.include({ trashed: false, meta: META, size: SIZE, chunk_size: CHUNK });
      expect(told.find((block) => block.id === trashed.id)).to.include({ trashed: true, root_digest: trashed.root_digest });
      expect(result.summary).to.deep.equal({ blocks: 2, added: 1, known: 1, conflicts: 0 });
    });

    it('leaves out a block whose manifest is gone, and says so', async () => {
      const blocks = [await bench.imported(bench.d), await bench.imported(bench.d), await bench.imported(bench.d)];
      const [first, lost, last] = blocks.map(({ id }) => id).sort();
      await bench.lose(bench.d, lost ?? '');
      const context = contextOf({ pool_id: bench.d });
      const result = await bench.handlers.rebuild.run(context);
      expect(bench.center.batches.flatMap((batch) => batch.blocks.map(({ id }) => id))).to.deep.equal([first, last]);
      expect(result.notes).to.have.length(1);
      expect(result.notes?.[0]).to.contain(`Block ${lost} is damaged`);
      const again = await bench.handlers.rebuild.run(contextOf({ pool_id: bench.d }, context));
      expect(again.notes).to.deep.equal(result.notes);
    });

    it('tells in batches, and goes on behind the last that the center had', async () => {
      const ids = Array.from({ length: 450 }, (_, i) => `block-${String(i).padStart(3, '0')}`);
      const pool = bench.pools.get(bench.a);
      if (pool === undefined) throw new Error('no pool');
      pool.list = async function* () {
        for (const blockId of ids) yield { blockId, size: 1, chunkSize: 1, rootDigest: Buffer.alloc(32), storedBytes: 1 };
      };
      const first = contextOf({ pool_id: bench.a });
      bench.center.onCall = () => {
        if (bench.center.batches.length === 2) throw new Error('died');
      };
      expect((await failure(bench.handlers.rebuild.run(first))).message).to.equal('died');
      const result = await bench.handlers.rebuild.run(contextOf({ pool_id: bench.a }, first));
      expect(bench.center.batches.map(({ blocks }) => [blocks[0]?.id, blocks.length])).to.deep.equal([
        ['block-000', 200],
        ['block-200', 200],
        ['block-200', 200],
        ['block-400', 50],
      ]);
      expect(result.summary).to.include({ blocks: 450, conflicts: 0 });
    });
  });
});
