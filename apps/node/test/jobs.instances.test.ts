/** Jobs of instances end the same wherever the node dies, and leave nothing where they fail. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CancelledError, newId, TransientError } from '@openservice/domain';
import type { Pool } from '@openservice/pools';
import { type BlockRef, jobParams, type SavedDisk } from '@openservice/protocol';
import { expect } from 'chai';
import { LiveBench } from './instances.support.ts';
import { CHUNK, contextOf, failure, type HandContext, nextAttempt, SIZE } from './jobs-bench.ts';

/** More steps than any of these jobs has. */
const MOST_STEPS = 12;

describe('jobs of instances', function () {
  this.timeout(60_000);
  let live: LiveBench;
  let block: BlockRef;
  let image: Buffer;
  beforeEach(async () => {
    live = await LiveBench.make();
    block = await live.bench.imported();
    image = await readFile(live.bench.image);
  });
  afterEach(() => live.close());

  const written = (offset: number, fill: number, length = 5000): Buffer => Buffer.from(image).fill(fill, offset, offset + length);

  /** Runs the job until it ends, dying at step `step` of the first run; `between` is what happens while the node is down or just up. */
  async function through<P>(
    run: (context: HandContext<P>) => Promise<unknown>,
    params: P,
    step: number,
    between: () => Promise<void> = async () => undefined,
  ): Promise<HandContext<P>> {
    const first = contextOf(params, null, { atStep: step });
    const died = await run(first).then(
      () => false,
      (error: { code?: string }) => {
        if (error.code !== 'died') throw error;
        return true;
      },
    );
    await live.die();
    await between();
    if (!died) return first;
    const second = contextOf(params, first);
    await run(second);
    return second;
  }

  describe('load', () => {
    for (let step = 0; step < 2; step++) {
      it(`serves the disk when the node dies at step ${step}`, async () => {
        const params = live.loadParams([block]);
        await through((context) => live.life.handlers.load.run(context), params, step);
        expect((await live.read(params.instance_id)).equals(image)).to.equal(true);
        await live.write(params.instance_id, 0, 100, Buffer.alloc(50, 1));
        await live.die();
        expect((await live.read(params.instance_id)).equals(written(100, 1, 50))).to.equal(true);
      });
    }

    it('serves all disks of a set or none, and leaves nothing', async () => {
      const missing = { ...block, id: newId('block') };
      const params = live.loadParams([block, missing]);
      const context = contextOf(params);
      expect(await failure(live.life.handlers.load.run(context))).to.include({ code: 'block_not_in_pool' });
      await live.life.handlers.load.cleanUp(context);
      expect(await live.life.instances.reports()).to.deep.equal([]);
      expect(await readdir(join(live.bench.dir, 'live')).catch(() => [])).to.deep.equal([]);
    });

    it('fails cleanly while its pool is away, and loads when it is back', async () => {
      live.away.add(live.bench.a);
      const params = live.loadParams([block]);
      const first = contextOf(params);
      expect(await failure(live.life.handlers.load.run(first))).to.include({ code: 'unreachable' });
      expect(await live.life.instances.reports()).to.deep.equal([]);
      live.away.clear();
      await live.life.handlers.load.run(nextAttempt(params, first));
      expect((await live.read(params.instance_id)).equals(image)).to.equal(true);
    });

    it('stops when it is cancelled, and leaves nothing', async () => {
      const stop = new AbortController();
      const params = live.loadParams([block]);
      const context = contextOf(params, null, { signal: stop.signal });
      stop.abort(new CancelledError());
      expect(await failure(live.life.handlers.load.run(context))).to.include({ code: 'cancelled' });
      await live.life.handlers.load.cleanUp(context);
      expect(await live.life.instances.reports()).to.deep.equal([]);
    });

    it('refuses a block that is not what the pool holds', async () => {
      const params = live.loadParams([{ ...block, root_digest: '0'.repeat(64) }]);
      expect(await failure(live.life.handlers.load.run(contextOf(params)))).to.include({ code: 'digest_mismatch' });
    });

    it('is not undone by an older run, or another job, that is cleaned up late', async () => {
      const params = live.loadParams([block]);
      const { load } = live.life.handlers;
      const first = contextOf(params);
      await load.run(first);
      const second = nextAttempt(params, first);
      await load.run(second);
      await live.write(params.instance_id, 0, 0, Buffer.alloc(5000, 9));
      await load.cleanUp(first);
      await load.cleanUp(contextOf(params));
      expect((await live.read(params.instance_id)).equals(written(0, 9))).to.equal(true);
      await load.cleanUp(second);
      expect(await live.life.instances.reports()).to.deep.equal([]);
    });

    it('takes nothing away where the files of an instance cannot be read', async () => {
      const params = live.loadParams([block]);
      const first = contextOf(params);
      await live.life.handlers.load.run(first);
      const map = (await readdir(join(live.bench.dir, 'live'), { recursive: true })).find((name) => name.endsWith('/map'));
      await writeFile(join(live.bench.dir, 'live', map!), 'no journal');
      await live.die();
      const second = contextOf(params, first);
      await live.life.handlers.load.run(second);
      await live.life.handlers.load.cleanUp(second);
      const [report] = await live.life.instances.reports();
      expect(report).to.include({ instance_id: params.instance_id, state: 'error' });
      expect(report?.message).to.contain('damaged');
      expect(await readFile(join(live.bench.dir, 'live', map!), 'utf8')).to.equal('no journal');
      const unload = jobParams.unload.parse({ instance_id: params.instance_id, save: live.saved(1) });
      expect(await failure(live.life.handlers.unload.run(contextOf(unload)))).to.include({ code: 'instance_not_found' });
      await live.life.handlers.unload.run(contextOf(jobParams.unload.parse({ instance_id: params.instance_id })));
      expect(await live.life.instances.reports()).to.deep.equal([]);
    });

    it('refuses a name that another instance has', async () => {
      await live.loaded([block], { name: 'one' });
      const params = live.loadParams([block], { name: 'one' });
      expect(await failure(live.life.handlers.load.run(contextOf(params)))).to.include({ code: 'name_taken' });
    });
  });

  it('keeps two instances of one block apart', async () => {
    const [one, two] = [await live.loaded([block]), await live.loaded([block])];
    await live.write(one, 0, 0, Buffer.alloc(5000, 1));
    await live.write(two, 0, 3000, Buffer.alloc(5000, 2));
    await live.die();
    expect((await live.read(one)).equals(written(0, 1))).to.equal(true);
    expect((await live.read(two)).equals(written(3000, 2))).to.equal(true);
  });

  it('serves a read-only instance, writes nothing, and refuses what needs writes', async () => {
    const id = await live.loaded([block], { readOnly: true });
    const { device } = live.life.instances.get(id).disk(0).exported;
    expect(device.readOnly).to.equal(true);
    expect(await failure(device.write(0, Buffer.alloc(1), false))).to.include({ code: 'read_only' });
    expect((await live.read(id)).equals(image)).to.equal(true);
    const save = contextOf(jobParams.save.parse({ instance_id: id, save: live.saved(1) }));
    expect(await failure(live.life.handlers.save.run(save))).to.include({ code: 'instance_read_only' });
    await live.die();
    expect((await live.read(id)).equals(image)).to.equal(true);
  });

  describe('save', () => {
    const save = (context: HandContext<{ instance_id: string; save: SavedDisk[] }>) => live.life.handlers.save.run(context);

    for (let step = 0; step < MOST_STEPS; step++) {
      it(`makes blocks of one moment when the node dies at step ${step}, and the instance goes on`, async () => {
        const id = await live.loaded([block, block]);
        for (const index of [0, 1]) await live.write(id, index, index * CHUNK, Buffer.alloc(5000, 1));
        const params = jobParams.save.parse({ instance_id: id, save: live.saved(2, live.bench.d) });
        await through(save, params, step, async () => {
          for (const index of [0, 1]) await live.write(id, index, index * CHUNK, Buffer.alloc(5000, 2));
        });
        const [a, b] = await Promise.all(params.save.map((disk) => live.content(disk.pool_id, disk.block_id)));
        const moment = a![0]!;
        expect(moment).to.be.oneOf([1, 2]);
        expect(a!.equals(written(0, moment))).to.equal(true);
        expect(b!.equals(written(CHUNK, moment))).to.equal(true);
        expect((await live.read(id, 1)).equals(written(CHUNK, 2))).to.equal(true);
      });
    }

    it('does not mix what a run that was cut off in the middle left with what is written since', async () => {
      for (const pool of [live.bench.a, live.bench.d]) {
        const id = await live.loaded([block]);
        for (let i = 0; i < 50; i++) await live.write(id, 0, i * CHUNK, Buffer.alloc(CHUNK, 1 + i));
        const params = jobParams.save.parse({ instance_id: id, save: live.saved(1, pool) });
        const whole = live.bench.pools.get(pool)!;
        live.bench.pools.set(pool, diesAfterPuts(whole, 25));
        const first = contextOf(params);
        expect(await failure(save(first))).to.include({ code: 'died' });
        live.bench.pools.set(pool, whole);
        for (let i = 0; i < 50; i++) await live.write(id, 0, i * CHUNK, Buffer.alloc(CHUNK, 101 + i));
        await save(nextAttempt(params, first));
        const bytes = await live.content(pool, params.save[0]!.block_id);
        for (let i = 0; i < 50; i++) expect(bytes[i * CHUNK], `chunk ${i}`).to.equal(101 + i);
      }
    });

    it('reads only what was written', async () => {
      const id = await live.loaded([block]);
      await live.write(id, 0, 30 * CHUNK + 5, Buffer.alloc(100, 7));
      const params = jobParams.save.parse({ instance_id: id, save: live.saved(1, live.bench.d) });
      await save(contextOf(params));
      const again = jobParams.save.parse({ instance_id: id, save: live.saved(1, live.bench.d) });
      const result = await save(contextOf(again));
      expect(result.progress?.bytes_sent).to.be.below(CHUNK);
      expect(result.blocks).to.have.length(1);
    });

    it('leaves nothing when it was cancelled, in any pool, and the disk can be held again', async () => {
      for (const pool of [live.bench.a, live.bench.d]) {
        const id = await live.loaded([block, block]);
        await live.write(id, 1, 0, Buffer.alloc(3 * CHUNK, 5));
        const params = jobParams.save.parse({ instance_id: id, save: live.saved(2, pool) });
        for (let step = 0; step < 4; step++) {
          const context = contextOf(params, null, { atStep: step });
          await failure(save(context));
          await live.life.handlers.save.cleanUp(contextOf(params, context));
          await live.life.handlers.save.cleanUp(contextOf(params, context));
        }
        for (const { block_id } of params.save) expect(await live.bench.has(pool, block_id)).to.equal(false);
        const left = await readdir(join(live.bench.dir, pool), { recursive: true });
        const parts = left.filter(
          (name) => params.save.some(({ block_id }) => name.includes(block_id)) && /part|sessions/.test(name),
        );
        expect(parts).to.deep.equal([]);
        const again = jobParams.save.parse({ instance_id: id, save: live.saved(2, pool) });
        await save(contextOf(again));
        expect(await live.bench.has(pool, again.save[1]!.block_id)).to.equal(true);
      }
    });

    it('makes a block that is loaded, written and saved in its turn', async () => {
      const first = await live.loaded([block]);
      await live.write(first, 0, 0, Buffer.alloc(5000, 1));
      const one = jobParams.save.parse({ instance_id: first, save: live.saved(1) });
      const { blocks } = await save(contextOf(one));
      const made = { id: blocks![0]!.id, size: SIZE, chunk_size: CHUNK, root_digest: blocks![0]!.root_digest };
      const second = await live.loaded([made]);
      await live.write(second, 0, 2500, Buffer.alloc(5000, 2));
      const two = jobParams.save.parse({ instance_id: second, save: live.saved(1, live.bench.d) });
      await save(contextOf(two));
      const expected = written(0, 1).fill(2, 2500, 7500);
      expect((await live.content(live.bench.d, two.save[0]!.block_id)).equals(expected)).to.equal(true);
    });
  });

  describe('unload', () => {
    const unload = (context: HandContext<{ instance_id: string; save: SavedDisk[] | null }>) =>
      live.life.handlers.unload.run(context);
    const isServed = (id: string): boolean => live.life.instances.isServed(id);

    for (let step = 0; step < 3; step++) {
      it(`takes the instance away when the node dies at step ${step}`, async () => {
        const id = await live.loaded([block]);
        await through(unload, jobParams.unload.parse({ instance_id: id }), step);
        expect(await live.life.instances.reports()).to.deep.equal([]);
        await live.die();
        expect(await live.life.instances.reports()).to.deep.equal([]);
      });
    }

    for (let step = 0; step < MOST_STEPS; step++) {
      it(`loses nothing that was written when it saves and the node dies at step ${step}`, async () => {
        const id = await live.loaded([block, block]);
        for (const index of [0, 1]) await live.write(id, index, 0, Buffer.alloc(5000, 1 + index));
        const params = jobParams.unload.parse({ instance_id: id, save: live.saved(2) });
        await through(unload, params, step, async () => {
          // No client gets in between: what it wrote would be lost.
          if ((await live.life.instances.reports()).length > 0) expect(isServed(id)).to.equal(false);
        });
        for (const [index, { pool_id, block_id }] of params.save!.entries())
          expect((await live.content(pool_id, block_id)).equals(written(0, 1 + index))).to.equal(true);
        expect(await live.life.instances.reports()).to.deep.equal([]);
      });
    }

    it('gives the instance back, as it was, when it has failed or was cancelled', async () => {
      const id = await live.loaded([block]);
      await live.write(id, 0, 0, Buffer.alloc(5000, 3));
      const params = jobParams.unload.parse({ instance_id: id, save: live.saved(1, live.bench.d) });
      for (let step = 0; step < 4; step++) {
        const context = contextOf(params, null, { atStep: step });
        await failure(unload(context));
        expect(isServed(id)).to.equal(false);
        if (step === 2) await live.die();
        await live.life.handlers.unload.cleanUp(contextOf(params, context));
        expect(isServed(id)).to.equal(true);
        expect(await live.bench.has(live.bench.d, params.save![0]!.block_id)).to.equal(false);
      }
      expect((await live.read(id)).equals(written(0, 3))).to.equal(true);
    });

    it('saves anew what was written after it had failed and given the instance back', async () => {
      const id = await live.loaded([block]);
      await live.write(id, 0, 0, Buffer.alloc(5000, 3));
      const params = jobParams.unload.parse({ instance_id: id, save: live.saved(1) });
      const first = contextOf(params, null, { at: 'requestCommit' });
      await failure(unload(first));
      await live.life.instances.letGo(id, first.jobId);
      await live.write(id, 0, 0, Buffer.alloc(5000, 4));
      await unload(nextAttempt(params, first));
      expect((await live.content(live.bench.a, params.save![0]!.block_id)).equals(written(0, 4))).to.equal(true);
    });

    it('says so when it died with the instance and does not come back', async () => {
      const id = await live.loaded([block]);
      const params = jobParams.unload.parse({ instance_id: id, save: live.saved(1) });
      const context = contextOf(params, null, { at: 'requestCommit' });
      await failure(unload(context));
      expect((await live.life.instances.reports())[0]).to.include({ state: 'loaded' });
      await live.die();
      const [report] = await live.life.instances.reports();
      expect(report).to.include({ state: 'error' });
      expect(report?.message).to.contain(context.jobId).and.contain('save=true');
    });
  });

  describe('rewind', () => {
    const rewind = (context: HandContext<{ instance_id: string }>) => live.life.handlers.rewind.run(context);

    for (let step = 0; step < 4; step++) {
      it(`drops what was written when the node dies at step ${step}, and nothing that was written since`, async () => {
        const id = await live.loaded([block, block]);
        for (const index of [0, 1]) await live.write(id, index, 0, Buffer.alloc(5000, 1));
        const params = jobParams.rewind.parse({ instance_id: id });
        await through(rewind, params, step);
        for (const index of [0, 1]) expect((await live.read(id, index)).equals(image)).to.equal(true);
        expect(live.life.instances.isServed(id)).to.equal(true);
        await live.die();
        expect((await live.read(id, 1)).equals(image)).to.equal(true);
      });
    }

    it('does not rewind again what is written after it was done', async () => {
      const id = await live.loaded([block]);
      const params = jobParams.rewind.parse({ instance_id: id });
      const first = contextOf(params);
      await rewind(first);
      await live.die();
      await live.write(id, 0, 0, Buffer.alloc(5000, 8));
      await rewind(contextOf(params, first));
      expect((await live.read(id)).equals(written(0, 8))).to.equal(true);
    });
  });

  describe('hydrate', () => {
    const hydrate = (context: HandContext<ReturnType<typeof jobParams.hydrate.parse>>) => live.life.handlers.hydrate.run(context);
    const params = (id: string, blocks: BlockRef[], from: string, to: string) =>
      jobParams.hydrate.parse({
        instance_id: id,
        pool_id: to,
        disks: blocks.map((one, index) => ({ index, block: one, pool_id: from })),
      });

    for (let step = 0; step < 8; step++) {
      it(`reads from the near pool when the node dies at step ${step}, and needs the far one no more`, async () => {
        const { a, d } = live.bench;
        const far = await live.bench.imported(d);
        const id = await live.loaded([far], { poolId: d });
        await live.write(id, 0, 0, Buffer.alloc(5000, 1));
        await through(hydrate, params(id, [far], d, a), step);
        live.away.add(d);
        await live.die();
        expect((await live.read(id)).equals(written(0, 1))).to.equal(true);
        expect((await live.life.instances.reports())[0]?.disks[0]).to.include({ pool_id: a });
      });
    }

    it('goes on when all is committed and the far pool is gone since', async () => {
      const { a, d } = live.bench;
      const far = [await live.bench.imported(d), await live.bench.imported(d)];
      const id = await live.loaded(far, { poolId: d });
      const first = contextOf(params(id, far, d, a), null, { at: 'assertLease' });
      await failure(hydrate(first));
      live.away.add(d);
      await hydrate(contextOf(first.params, first));
      for (const index of [0, 1]) expect((await live.read(id, index)).equals(image)).to.equal(true);
    });

    it('leaves the instance as it was when it fails, and nothing in the pool', async () => {
      const { a, b, d } = live.bench;
      const far = await live.bench.imported(d);
      const id = await live.loaded([far], { poolId: d });
      for (const [step, pool] of [
        [1, a],
        [2, b],
      ] as const) {
        const context = contextOf(params(id, [far], d, pool), null, { atStep: step });
        await failure(hydrate(context));
        await live.life.handlers.hydrate.cleanUp(contextOf(context.params, context));
        expect(await live.bench.has(pool, far.id)).to.equal(false);
      }
      expect((await live.read(id)).equals(image)).to.equal(true);
      expect((await live.life.instances.reports())[0]?.disks[0]).to.include({ pool_id: d });
    });

    it('takes a replica that is there already, and moves a read-only instance too', async () => {
      const { a, d } = live.bench;
      await live.life.handlers.upload.run(contextOf(jobParams.upload.parse({ block, from_pool_id: a, pool_id: d })));
      const id = await live.loaded([block], { readOnly: true });
      const result = await hydrate(contextOf(params(id, [block], a, d)));
      expect(result.progress).to.include({ bytes_sent: 0 });
      live.away.add(a);
      expect((await live.read(id)).equals(image)).to.equal(true);
    });
  });
});

/** Writers of the pool make what they were given durable, and then die, after `puts` chunks. */
function diesAfterPuts(pool: Pool, puts: number): Pool {
  const through = <T extends object>(target: T, instead: Partial<T>): T =>
    new Proxy(target, {
      get(from, name) {
        const value = Reflect.get(name in instead ? instead : from, name);
        return typeof value === 'function' ? value.bind(from) : value;
      },
    });
  return through(pool, {
    async openWriter(session, signal) {
      const writer = await pool.openWriter(session, signal);
      let left = puts;
      return through(writer, {
        async put(index, digest, bytes, stopped) {
          if (left-- > 0) return writer.put(index, digest, bytes, stopped);
          await writer.checkpoint(stopped);
          throw new TransientError('died', 'The node died in the middle.');
        },
      });
    },
  });
}
