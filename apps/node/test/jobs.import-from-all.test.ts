import { open, readFile, rm } from 'node:fs/promises';
import { newId } from '@openservice/domain';
import { type JobParams, jobParams } from '@openservice/protocol';
import { expect } from 'chai';
import { Bench, CHUNK, contextOf, failure, nextAttempt, SIZE } from './jobs-bench.ts';

const never = new AbortController().signal;

describe('import', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.make();
  });
  afterEach(() => bench.close());

  describe('of what a client sent', () => {
    async function sent(): Promise<JobParams['import']> {
      const id = newId('block');
      const bytes = (async function* () {
        yield await readFile(bench.image);
      })();
      await bench.content.append(id, { offset: 0, total: SIZE }, bytes, never);
      return { ...bench.importParams(id, bench.d), source: { type: 'content', node_id: 'node-1' } };
    }

    it('drops it once it is a block, and answers again without it', async () => {
      const params = await sent();
      const first = contextOf(params);
      const result = await bench.handlers.import.run(first);
      expect(result.root_digest).to.equal((await bench.imported()).root_digest);
      expect(await bench.content.offset(params.block_id)).to.equal(0);
      const again = await bench.handlers.import.run(contextOf(params, first));
      expect(again.root_digest).to.equal(result.root_digest);
    });

    it('keeps it while the import has not committed, also when that was cleaned up', async () => {
      const params = await sent();
      const first = contextOf(params, null, { at: 'requestCommit' });
      await failure(bench.handlers.import.run(first));
      await bench.handlers.import.cleanUp(first);
      expect(await bench.content.offset(params.block_id)).to.equal(SIZE);
      await bench.handlers.import.run(nextAttempt(params, first));
      expect(await bench.has(bench.d, params.block_id)).to.equal(true);
    });

    it('fails where nothing was sent', async () => {
      const params = await sent();
      await bench.content.drop(params.block_id);
      expect(await failure(bench.handlers.import.run(contextOf(params)))).to.include({ code: 'content_not_found' });
    });
  });

  describe('on top of a parent', () => {
    /** The image with one chunk changed since its import into `pool`. */
    async function changed(pool: string) {
      const block = await bench.imported(pool);
      const handle = await open(bench.image, 'r+');
      await handle.write(Buffer.alloc(CHUNK, 'changed'), 0, CHUNK, 9 * CHUNK);
      await handle.close();
      return { ...bench.importParams(newId('block'), pool), parent: { block, pool_id: pool } };
    }

    it('reads what changed, and takes the rest from the parent', async () => {
      const params = { ...(await changed(bench.d)), changed_extents: [{ offset: 9 * CHUNK, length: CHUNK }] };
      const result = await bench.handlers.import.run(contextOf(params));
      expect(result.root_digest).to.equal((await bench.imported()).root_digest);
      expect(result).to.not.have.property('notes');
      expect(result.progress?.bytes_done).to.equal(SIZE);
    });

    it('reads all when it is not told what changed', async () => {
      const params = await changed(bench.a);
      const result = await bench.handlers.import.run(contextOf(params));
      expect(result.root_digest).to.equal((await bench.imported()).root_digest);
    });

    it('reads all, and says so, when the parent is not to be read', async () => {
      const params = { ...(await changed(bench.d)), changed_extents: [{ offset: 9 * CHUNK, length: CHUNK }] };
      await bench.pools.get(bench.d)?.remove(params.parent.block.id, 1_000_000, never);
      const result = await bench.handlers.import.run(contextOf(params));
      expect(result.root_digest).to.equal((await bench.imported()).root_digest);
      expect(result.notes?.[0]).to.contain('The parent could not be read');
    });

    it('says again after a crash that it did not rely on what it was told', async () => {
      const base = await changed(bench.d);
      // Not one word of it is true: what is said to have changed is not what did.
      await rm(bench.image);
      const handle = await open(bench.image, 'w');
      await handle.write(Buffer.alloc(SIZE, 'other'), 0, SIZE, 0);
      await handle.close();
      const params = { ...base, changed_extents: [{ offset: 0, length: CHUNK }] };
      const first = contextOf(params, null, { at: 'requestCommit' });
      await failure(bench.handlers.import.run(first));
      const result = await bench.handlers.import.run(contextOf(params, first));
      expect(result.root_digest).to.equal((await bench.imported()).root_digest);
      expect(result.notes).to.have.length(1);
    });
  });

  it('keeps what the center knows of a block beside it', async () => {
    const meta = { name: 'disk', set_id: null, set_name: null, parent_block_id: null, created_at: '2026-11-24T00:00:00.000Z' };
    for (const pool of [bench.a, bench.d]) {
      const params = jobParams.import.parse({ ...bench.importParams(newId('block'), pool), meta });
      await bench.handlers.import.run(contextOf(params));
      for await (const stat of bench.pools.get(pool)?.list(never) ?? []) expect(stat.meta).to.deep.equal(meta);
    }
  });
});
