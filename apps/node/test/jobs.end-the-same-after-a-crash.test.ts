import { readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CancelledError, newId } from '@openservice/domain';
import { jobParams } from '@openservice/protocol';
import { expect } from 'chai';
import { Bench, CHUNK, contextOf, failure, nextAttempt, SIZE } from './jobs-bench.ts';

const CRASHES = ['preparing', 'checkpoint', 'requestCommit', 'assertLease'] as const;

describe('job handlers', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.make();
  });
  afterEach(() => bench.close());

  describe('import', () => {
    it('makes a block of a file and tells how far it is', async () => {
      const id = newId('block');
      const context = contextOf(bench.importParams(id));
      const result = await bench.handlers.import.run(context);
      expect(result.root_digest).to.match(/^[0-9a-f]{64}$/);
      expect(result.replicas).to.have.length(1);
      expect(result.replicas[0]).to.include({ pool_id: bench.a, state: 'available' });
      expect(context.last).to.include({ bytes_total: SIZE, bytes_done: SIZE, eta_ms: 0 });
      expect(context.last?.bytes_sent).to.be.within(20 * CHUNK, 22 * CHUNK);
      expect(context.steps.slice(-4)).to.deep.equal(['preparing', 'checkpoint', 'requestCommit', 'assertLease']);
      expect(await bench.has(bench.a, id)).to.equal(true);
    });

    for (const at of CRASHES) {
      it(`ends the same when the node dies at ${at} and runs it again`, async () => {
        const id = newId('block');
        const first = contextOf(bench.importParams(id), null, { at });
        expect(await failure(bench.handlers.import.run(first))).to.include({ code: 'died' });
        expect(await bench.has(bench.a, id)).to.equal(false);
        const second = contextOf(bench.importParams(id), first);
        const result = await bench.handlers.import.run(second);
        expect(await bench.has(bench.a, id)).to.equal(true);
        const other = await bench.imported();
        expect(result.root_digest).to.equal(other.root_digest);
      });
    }

    it('answers as before when it had committed and the file is gone since', async () => {
      const id = newId('block');
      const first = contextOf(bench.importParams(id));
      const { root_digest } = await bench.handlers.import.run(first);
      await rm(bench.image);
      const again = await bench.handlers.import.run(contextOf(bench.importParams(id), first));
      expect(again.root_digest).to.equal(root_digest);
      const forgetful = { ...first, saved: null };
      expect((await bench.handlers.import.run(contextOf(bench.importParams(id), forgetful))).root_digest).to.equal(root_digest);
    });

    it('fails when the file is not as large as when the job was accepted', async () => {
      const context = contextOf({ ...bench.importParams(newId('block')), size: SIZE - 1 });
      expect(await failure(bench.handlers.import.run(context))).to.include({ code: 'source_changed' });
    });

    it('fails when the file was changed before it goes on', async () => {
      const id = newId('block');
      const first = contextOf(bench.importParams(id), null, { at: 'preparing' });
      await failure(bench.handlers.import.run(first));
      await utimes(bench.image, 5, 5);
      expect(await failure(bench.handlers.import.run(contextOf(bench.importParams(id), first)))).to.include({
        code: 'source_changed',
      });
    });

    it('fails when the file is written to while it is read', async () => {
      const id = newId('block');
      let changed: Promise<void> | null = null;
      const context = contextOf(bench.importParams(id), null, {
        onProgress: () => {
          changed ??= utimes(bench.image, 7, 7);
        },
      });
      const preparing = context.preparing.bind(context);
      context.preparing = async () => {
        await changed;
        await preparing();
      };
      expect(await failure(bench.handlers.import.run(context))).to.include({ code: 'source_changed' });
      expect(context.steps).not.to.include('requestCommit');
      expect(await bench.has(bench.a, id)).to.equal(false);
    });

    it('leaves nothing after it was cancelled and cleaned up, twice', async () => {
      const clean = await readdir(join(bench.dir, bench.a), { recursive: true });
      const id = newId('block');
      const stop = new AbortController();
      const context = contextOf(bench.importParams(id), null, {
        signal: stop.signal,
        onProgress: () => stop.abort(new CancelledError()),
      });
      expect(await failure(bench.handlers.import.run(context))).to.include({ code: 'cancelled' });
      const after = contextOf(bench.importParams(id), context);
      await bench.handlers.import.cleanUp(after);
      await bench.handlers.import.cleanUp(after);
      expect(await bench.has(bench.a, id)).to.equal(false);
      const left = (await readdir(join(bench.dir, bench.a), { recursive: true })).filter((name) => !clean.includes(name));
      expect(left.filter((name) => /data|part|digest/.test(name))).to.deep.equal([]);
    });

    it('is not undone by a clean-up that comes after its commit', async () => {
      const id = newId('block');
      const context = contextOf(bench.importParams(id));
      await bench.handlers.import.run(context);
      await bench.handlers.import.cleanUp(contextOf(bench.importParams(id), context));
      expect(await bench.has(bench.a, id)).to.equal(true);
    });
  });

  describe('upload', () => {
    it('copies a block to another pool, and again after a crash', async () => {
      const block = await bench.imported();
      const params = jobParams.upload.parse({ block, from_pool_id: bench.a, pool_id: bench.b });
      const first = contextOf(params, null, { at: 'requestCommit' });
      await failure(bench.handlers.upload.run(first));
      const result = await bench.handlers.upload.run(contextOf(params, first));
      expect(result.root_digest).to.equal(block.root_digest);
      expect(result.progress?.bytes_sent).to.be.within(20 * CHUNK, 22 * CHUNK);
      expect(await bench.has(bench.b, block.id)).to.equal(true);
    });

    it('refuses a source that is not the block it was told of', async () => {
      const block = { ...(await bench.imported()), root_digest: '0'.repeat(64) };
      const context = contextOf({ block, from_pool_id: bench.a, pool_id: bench.b });
      expect(await failure(bench.handlers.upload.run(context))).to.include({ code: 'digest_mismatch' });
      expect(await bench.has(bench.b, block.id)).to.equal(false);
    });

    it('fails on a damaged chunk and commits nothing', async () => {
      const block = await bench.imported();
      await bench.flipBit(bench.a);
      const context = contextOf({ block, from_pool_id: bench.a, pool_id: bench.b });
      expect(await failure(bench.handlers.upload.run(context))).to.include({ code: 'damaged_chunk' });
      expect(await bench.has(bench.b, block.id)).to.equal(false);
    });
  });

  describe('restore', () => {
    const params = async (name: string) => {
      const target = { type: 'file' as const, node_id: 'node-1', path: join(bench.dir, name) };
      return { ...jobParams.restore.parse({ block: await bench.imported(), from_pool_id: bench.a, target }), target };
    };

    for (const at of CRASHES) {
      it(`writes the same file when the node dies at ${at} and runs it again`, async () => {
        const restore = await params('back.img');
        const first = contextOf(restore, null, { at });
        expect(await failure(bench.handlers.restore.run(first))).to.include({ code: 'died' });
        expect(await readdir(bench.dir)).not.to.include('back.img');
        const result = await bench.handlers.restore.run(contextOf(restore, first));
        expect(result.root_digest).to.equal(restore.block.root_digest);
        expect((await readFile(restore.target.path)).equals(await readFile(bench.image))).to.equal(true);
        expect((await readdir(bench.dir)).filter((name) => name.includes('.part'))).to.deep.equal([]);
      });
    }

    it('answers again after its commit', async () => {
      const restore = await params('back.img');
      const first = contextOf(restore);
      const result = await bench.handlers.restore.run(first);
      expect((await bench.handlers.restore.run(contextOf(restore, first))).root_digest).to.equal(result.root_digest);
    });

    it('never overwrites a file', async () => {
      const restore = await params('theirs.img');
      await writeFile(restore.target.path, 'theirs');
      expect(await failure(bench.handlers.restore.run(contextOf(restore)))).to.include({ code: 'target_exists' });
      expect(await readFile(restore.target.path, 'utf8')).to.equal('theirs');
    });

    it('leaves no part file after it was cancelled and cleaned up', async () => {
      const restore = await params('back.img');
      const stop = new AbortController();
      const context = contextOf(restore, null, { signal: stop.signal, onProgress: () => stop.abort(new CancelledError()) });
      expect(await failure(bench.handlers.restore.run(context))).to.include({ code: 'cancelled' });
      await bench.handlers.restore.cleanUp(contextOf(restore, context));
      expect(await readdir(bench.dir)).to.have.members(['disk.img', bench.a, bench.b, bench.d]);
    });

    it('brings a block back into a pool', async () => {
      const block = await bench.imported();
      const target = { type: 'pool' as const, pool_id: bench.b };
      await bench.handlers.restore.run(contextOf(jobParams.restore.parse({ block, from_pool_id: bench.a, target })));
      expect(await bench.has(bench.b, block.id)).to.equal(true);
    });
  });

  describe('delete', () => {
    it('asks for leave before it removes, and may run again', async () => {
      const block = await bench.imported();
      const params = jobParams.delete.parse({ block_id: block.id, pool_ids: [bench.a] });
      const first = contextOf(params, null, { at: 'requestCommit' });
      await failure(bench.handlers.delete.run(first));
      expect(await bench.has(bench.a, block.id)).to.equal(true);
      const second = contextOf(params, first);
      await bench.handlers.delete.run(second);
      expect(await bench.has(bench.a, block.id)).to.equal(false);
      const result = await bench.handlers.delete.run(contextOf(params, second));
      expect(result.replicas).to.deep.equal([{ pool_id: bench.a, state: 'removed', stored_bytes: 0 }]);
    });

    it('puts replicas into the trash and has them back, wherever the node dies', async () => {
      const block = await bench.imported();
      const pool_ids = [bench.a, bench.d];
      await bench.handlers.upload.run(contextOf(jobParams.upload.parse({ block, from_pool_id: bench.a, pool_id: bench.d })));
      const trash = jobParams.delete.parse({ block_id: block.id, pool_ids, trash: true });
      const back = jobParams.undelete.parse({ block, pool_ids });
      // Steps: preparing, requestCommit, and the lease before each of the two pools.
      for (let step = 0; step < 5; step++) {
        const first = contextOf(trash, null, { atStep: step });
        await bench.handlers.delete.run(first).catch(() => undefined);
        const gone = await bench.handlers.delete.run(contextOf(trash, first));
        expect(gone.replicas.map(({ state }) => state)).to.deep.equal(['trashed', 'trashed']);
        for (const id of pool_ids) expect(await bench.has(id, block.id)).to.equal(false);
        const second = contextOf(back, null, { atStep: step });
        await bench.handlers.undelete.run(second).catch(() => undefined);
        const there = await bench.handlers.undelete.run(contextOf(back, second));
        expect(there).to.deep.include({ root_digest: block.root_digest, size: SIZE });
        expect(there.replicas.map(({ state }) => state)).to.deep.equal(['available', 'available']);
        for (const { stored_bytes } of there.replicas) expect(stored_bytes).to.be.greaterThan(0);
        for (const id of pool_ids) expect(await bench.has(id, block.id)).to.equal(true);
      }
    });

    it('removes what a failed import left: there is nothing to put into the trash', async () => {
      for (const pool of [bench.a, bench.d]) {
        const id = newId('block');
        await failure(bench.handlers.import.run(contextOf(bench.importParams(id, pool), null, { at: 'requestCommit' })));
        const params = jobParams.delete.parse({ block_id: id, pool_ids: [pool], trash: true });
        const first = contextOf(params);
        const result = await bench.handlers.delete.run(first);
        expect(result.replicas).to.deep.equal([{ pool_id: pool, state: 'removed', stored_bytes: 0 }]);
        expect(await bench.handlers.delete.run(contextOf(params, first))).to.deep.equal(result);
      }
    });

    it('cannot have back what was removed for good', async () => {
      const block = await bench.imported(bench.d);
      await bench.handlers.delete.run(contextOf(jobParams.delete.parse({ block_id: block.id, pool_ids: [bench.d] })));
      const back = contextOf(jobParams.undelete.parse({ block, pool_ids: [bench.d] }));
      expect(await failure(bench.handlers.undelete.run(back))).to.include({ code: 'block_not_in_pool' });
    });

    it('removes nothing when one of its pools is away', async () => {
      const block = await bench.imported();
      const context = contextOf(jobParams.delete.parse({ block_id: block.id, pool_ids: [bench.a, newId('pool')] }));
      expect(await failure(bench.handlers.delete.run(context))).to.include({ code: 'unreachable' });
      expect(await bench.has(bench.a, block.id)).to.equal(true);
    });
  });

  describe('copy', () => {
    const ENDS = [
      ['to another pool', 'a', 'd'],
      ['inside a local pool', 'a', 'a'],
      ['inside a dedup pool', 'd', 'd'],
    ] as const;
    for (const [name, from, to] of ENDS) {
      it(`makes a block of its own ${name}, wherever the node dies`, async () => {
        const block = await bench.imported(bench[from]);
        const [from_pool_id, pool_id] = [bench[from], bench[to]];
        for (const at of CRASHES) {
          const params = jobParams.copy.parse({ block, from_pool_id, pool_id, new_block_id: newId('block') });
          const first = contextOf(params, null, { at });
          // A clone has nothing to checkpoint.
          const cloned = await bench.handlers.copy.run(first).then(
            () => true,
            () => false,
          );
          expect(await bench.has(pool_id, params.new_block_id)).to.equal(cloned);
          const result = await bench.handlers.copy.run((at === 'preparing' ? nextAttempt : contextOf)(params, first));
          expect(result.root_digest).to.equal(block.root_digest);
          expect(result.replicas.map((replica) => replica.pool_id)).to.deep.equal([pool_id]);
          expect(result.progress).to.include({ bytes_total: SIZE, bytes_done: SIZE });
          expect(await bench.has(pool_id, params.new_block_id)).to.equal(true);
          expect(await bench.has(from_pool_id, block.id)).to.equal(true);
        }
      });
    }

    it('moves no data inside a dedup pool', async () => {
      const block = await bench.imported(bench.d);
      const params = { block, from_pool_id: bench.d, pool_id: bench.d, new_block_id: newId('block') };
      const result = await bench.handlers.copy.run(contextOf(jobParams.copy.parse(params)));
      expect(result.progress).to.include({ bytes_sent: 0 });
    });
  });

  describe('verify', () => {
    it('finds a whole replica whole', async () => {
      const block = await bench.imported();
      const context = contextOf(jobParams.verify.parse({ block, pool_ids: [bench.a] }));
      const result = await bench.handlers.verify.run(context);
      expect(result).to.deep.include({ verified: true, damage: [] });
      expect(result.replicas[0]).to.include({ state: 'available' });
      expect(context.last).to.include({ bytes_total: SIZE, bytes_done: SIZE });
    });

    it('finds the one flipped bit, and the replica that is not there', async () => {
      const block = await bench.imported();
      await bench.flipBit(bench.a);
      const result = await bench.handlers.verify.run(contextOf(jobParams.verify.parse({ block, pool_ids: [bench.a, bench.b] })));
      expect(result.verified).to.equal(false);
      expect(result.replicas.map((replica) => replica.state)).to.deep.equal(['damaged', 'damaged']);
      expect(result.damage).to.have.length(2);
      expect(result.damage[0]?.message).to.contain(`Bytes ${7 * CHUNK} to ${8 * CHUNK - 1} `);
    });
  });
});
