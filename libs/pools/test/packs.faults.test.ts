import { asOpenServiceError, CancelledError, type OpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import { expect } from 'chai';
import { type Backend, ObjectNotFoundError } from '../src/backend.ts';
import { withFaults } from '../src/faulty/backend.ts';
import { createMemoryBackend } from '../src/memory/backend.ts';
import type { Pool } from '../src/pool.ts';
import { withRetry } from '../src/retry/backend.ts';
import { CHUNK, fill, noise, PackedPool } from './support/packed-pool.ts';

const signal = new AbortController().signal;
const caught = (promise: Promise<unknown>): Promise<OpenServiceError> =>
  promise.then(
    () => {
      throw new Error('it should have failed');
    },
    (error: OpenServiceError) => error,
  );

function expectAll(found: (Buffer | Error)[], chunks: readonly Buffer[], but: readonly number[] = []): void {
  for (const [index, got] of found.entries()) {
    if (but.includes(index)) {
      expect(got).to.be.instanceOf(PermanentError).with.property('code', 'damaged_chunk');
      expect((got as Error).message).to.include(`Chunk ${index} of block `);
    } else {
      if (got instanceof Error) throw got;
      expect(got.equals(chunks[index]!), `chunk ${index}`).to.equal(true);
    }
  }
}

const collect = (pool: Pool) => pool.collect({ jobId: 'gc' }, signal);

describe('a packs pool with a damaged chunk', () => {
  const chunks = noise(6);

  it('names block and chunk, and makes it good for all blocks that share it', async () => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    await place.write('block-2', [...chunks, ...noise(1, 2)]);
    const packs = await place.keys('packs/');
    expect(packs).to.have.length(2);
    // The larger is the first block's; header 32, then records of head 64, one frame of 8, and the chunk.
    const [larger] = (await Promise.all(packs.map(async (key) => [await place.backend.head(key, signal), key] as const)))
      .sort(([a], [b]) => b! - a!)
      .map(([, key]) => key);
    await place.flip(larger!, 32 + 72 + CHUNK + 100);
    expectAll(await place.read('block-1'), chunks, [1]);
    const pool = place.node();
    const reader = await pool.openReader('block-1', signal);
    expect(await caught(reader.read(CHUNK + 50, 10, signal))).to.have.property('code', 'damaged_chunk');
    expect(await caught(pool.repair('block-1', 1, chunks[2]!, signal))).to.have.property('code', 'digest_mismatch');
    await pool.repair('block-1', 1, chunks[1]!, signal);
    expectAll(await place.read('block-1'), chunks);
    expectAll(await place.read('block-2'), [...chunks, ...noise(1, 2)]);
    expect((await reader.read(CHUNK + 50, 10, signal)).equals(chunks[1]!.subarray(50, 60))).to.equal(true);
    await reader.close();
    await collect(pool);
    expectAll(await place.read('block-2'), [...chunks, ...noise(1, 2)]);
  });

  it('stores it anew for whoever comes after it was marked', async () => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    const { key, offsets } = await place.onlyPack();
    await place.flip(key, offsets[2]! + 200);
    await place.node().repair('block-1', 2, null, signal);
    const took = await place.write('block-2', chunks);
    expect(took)
      .to.be.greaterThan(CHUNK)
      .and.lessThan(2 * CHUNK);
    expectAll(await place.read('block-2'), chunks);
    expectAll(await place.read('block-1'), chunks, [2]);
  });

  it('does not go on with it in the next attempt either', async () => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    const session = place.session('block-2', 6);
    const pool = place.node();
    const first = await pool.openWriter(session, signal);
    await fill(first, chunks);
    await first.checkpoint(signal);
    await first.close();
    const { key, offsets } = await place.onlyPack();
    await place.flip(key, offsets[4]! + 200);
    await pool.repair('block-1', 4, null, signal);
    const second = await pool.openWriter({ ...session, attempt: 2, fence: place.nextFence }, signal);
    expect([0, 1, 2, 3, 4, 5].map((index) => second.has(index))).to.deep.equal([true, true, true, true, false, true]);
    await fill(second, chunks);
    await second.commit(signal);
    await second.close();
    expectAll(await place.read('block-2'), chunks);
  });
});

describe('a packs pool', () => {
  const chunks = noise(6);
  const twoBlocks = async (): Promise<PackedPool> => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    await place.write('block-2', noise(3, 9));
    return place;
  };

  it('reads what lies before the cut of a pack, and stores nothing on it', async () => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    const { key, offsets } = await place.onlyPack();
    const bytes = await place.backend.get(key, null, signal);
    await place.backend.put(key, bytes.subarray(0, offsets[4]! + 100), signal);
    expectAll(await place.read('block-1'), chunks, [4, 5]);
    expect(await place.write('block-2', chunks)).to.be.greaterThan(6 * CHUNK);
    expectAll(await place.read('block-2'), chunks);
    for (const index of [4, 5]) await place.node().repair('block-1', index, chunks[index]!, signal);
    expectAll(await place.read('block-1'), chunks);
  });

  it('says that a pack is gone, gets along with repairs in its place, and gives them up with the block', async () => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    await place.backend.remove((await place.onlyPack()).key, signal);
    const found = await place.read('block-1');
    expectAll(found, chunks, [0, 1, 2, 3, 4, 5]);
    expect((found[0] as Error).message).to.include('the pack is gone');
    expect(await place.write('block-2', chunks)).to.be.greaterThan(6 * CHUNK);
    const pool = place.node();
    for (const [index, bytes] of chunks.entries()) await pool.repair('block-1', index, bytes, signal);
    await collect(pool);
    expectAll(await place.read('block-1'), chunks);
    await pool.remove('block-1', place.nextFence, signal);
    await collect(pool);
    expect([...(await place.keys('repairs/')), ...(await place.keys('damaged/'))]).to.deep.equal([]);
    expectAll(await place.read('block-2'), chunks);
  });

  for (const kind of ['manifest', 'segment'] as const) {
    for (const how of ['damaged', 'gone'] as const) {
      it(`refuses a block whose ${kind} is ${how}, and collects nothing while it is so`, async () => {
        const place = await twoBlocks();
        const keys =
          kind === 'manifest'
            ? (await place.keys('blocks/block-1/')).filter((key) => key.endsWith('/manifest'))
            : await segmentsOf(place, 'block-1');
        const kept = await place.backend.get(keys[0]!, null, signal);
        if (how === 'gone') await place.backend.remove(keys[0]!, signal);
        else await place.flip(keys[0]!, 40);
        const error = await caught(
          place.read('block-1').then((found) => {
            throw found[0];
          }),
        );
        expect(error.code).to.match(/^damaged_(?:manifest|block)$/);
        expect(error.message).to.satisfy((text: string) => text.includes('block-1'));
        expectAll(await place.read('block-2'), noise(3, 9));
        await place.node().remove('block-2', place.nextFence, signal);
        const before = await place.keys('packs/');
        const report = await collect(place.node());
        expect(report.damaged.map(({ blockId }) => blockId)).to.deep.equal(['block-1']);
        expect(await place.keys('packs/')).to.deep.equal(before);
        // The same content again is a block of its own, whole.
        await place.write('block-3', chunks);
        expectAll(await place.read('block-3'), chunks);
        await place.backend.put(keys[0]!, kept, signal);
        expect(await collect(place.node())).to.deep.include({ damaged: [], keptObjects: 0 });
        expectAll(await place.read('block-1'), chunks);
        expectAll(await place.read('block-3'), chunks);
      });
    }
  }

  it('takes a damaged digests segment for none', async () => {
    const place = await twoBlocks();
    for (const key of await place.keys('segments/')) await place.flip(key, 40);
    await place.write('block-3', chunks);
    expectAll(await place.read('block-3'), chunks);
  });

  it('refuses a block whose ledger is damaged, and collects nothing', async () => {
    const place = await twoBlocks();
    await place.flip((await place.keys('blocks/block-1/ledger/')).at(-1)!, 3);
    expect(await caught(place.node().stat('block-1', signal))).to.have.property('code', 'damaged_ledger');
    expect(await caught(place.write('block-1', chunks))).to.have.property('code', 'damaged_ledger');
    await place.node().remove('block-2', place.nextFence, signal);
    const report = await collect(place.node());
    expect(report).to.deep.include({ removedObjects: 0 });
    expect(report.damaged[0]?.message).to.include('block-1');
  });

  for (const how of ['damaged', 'gone'] as const) {
    it(`stores more while its index is ${how}, and has it back after a collection`, async () => {
      const place = await twoBlocks();
      for (const key of await place.keys('index/')) {
        if (how === 'gone') await place.backend.remove(key, signal);
        else await place.flip(key, 30);
      }
      expect(await place.write('block-3', chunks)).to.be.greaterThan(6 * CHUNK);
      for (const key of await place.keys('index/')) await place.backend.remove(key, signal);
      await collect(place.node());
      expect(await place.write('block-4', chunks)).to.equal(0);
      for (const block of ['block-1', 'block-3', 'block-4']) expectAll(await place.read(block), chunks);
    });
  }

  it('gets along without the index of a pack whose footer is damaged', async () => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    for (const key of await place.keys('index/')) await place.backend.remove(key, signal);
    await place.flip((await place.onlyPack()).key, -40);
    await collect(place.node());
    expectAll(await place.read('block-1'), chunks);
    expect(await place.write('block-2', chunks)).to.be.greaterThan(6 * CHUNK);
  });

  it("relies on nothing while the list of a collection's round is damaged", async () => {
    const place = await twoBlocks();
    await place.node().remove('block-2', place.nextFence, signal);
    const stuck = await place.node().openWriter(place.session('block-3', 1), signal);
    const cut = place.node({
      wrap: (inner) => withFaults(inner, [{ call: 'head', key: /^acks/, error: () => new TransientError('unreachable', 'cut') }]),
    });
    expect(await caught(collect(cut))).to.have.property('code', 'unreachable');
    await place.flip((await place.keys('condemned/'))[0]!, 20);
    expect(await place.write('block-4', chunks)).to.be.greaterThan(6 * CHUNK);
    await stuck.abort(signal);
    await stuck.close();
    await collect(place.node());
    expectAll(await place.read('block-1'), chunks);
    expectAll(await place.read('block-4'), chunks);
  });
});

async function segmentsOf(place: PackedPool, blockId: string): Promise<string[]> {
  const key = (await place.keys(`blocks/${blockId}/`)).find((name) => name.endsWith('/manifest'))!;
  const hex = (await place.backend.get(key, null, signal)).subarray(-68, -4);
  const names = [hex.subarray(32).toString('hex'), hex.subarray(0, 32).toString('hex')];
  return names.map((name) => `segments/${name.slice(0, 2)}/${name}`);
}

describe('a packs pool on a store that fails', () => {
  const chunks = noise(12);
  const busy = (): Error => new TransientError('slow_down', 'busy');
  const patient = { tries: 8, baseMs: 1 };

  it('is full half-way: says so, loses nothing, and goes on once there is room', async () => {
    const place = await PackedPool.make(createMemoryBackend({ capacity: 24 * CHUNK }));
    await place.write('block-1', chunks);
    const more = noise(20, 5);
    expect(await caught(place.write('block-2', more))).to.have.property('code', 'no_space');
    expectAll(await place.read('block-1'), chunks);
    const pool = place.node();
    await pool.remove('block-2', place.nextFence, signal);
    await collect(pool);
    await place.write('block-3', more.slice(0, 8));
    expectAll(await place.read('block-3'), more.slice(0, 8));
  });

  it('does not take a failing disk for a damaged chunk, and collects nothing from it', async () => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    const eio = (): Error => asOpenServiceError(Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' }));
    const broken = (key: RegExp): Pool => place.node({ wrap: (inner) => withFaults(inner, [{ call: 'get', key, error: eio }]) });
    for (const error of await place.read('block-1', broken(/^packs/)))
      expect(error).to.have.property('code').not.equal('damaged_chunk');
    await place.node().openWriter(place.session('block-2', 3), signal);
    const before = await place.keys('packs/');
    const failed = await caught(collect(broken(/^segments/)));
    expect(failed.code).not.to.match(/^damaged/);
    expect(await place.keys('packs/')).to.deep.equal(before);
    expectAll(await place.read('block-1'), chunks);
  });

  it('gets through a store that answers 503 to everything for a while, loses answers and reads short', async () => {
    const place = await PackedPool.make();
    const short = (): Error => new TransientError('short_read', 'ended early');
    const calls = ['put', 'putIfAbsent', 'get', 'head', 'list', 'remove'] as const;
    const pool = place.node({
      wrap: (inner) =>
        withRetry(
          withFaults(inner, [
            ...calls.map((call) => ({ call, after: 2, times: 3, error: busy })),
            ...calls
              .filter((call) => call !== 'putIfAbsent')
              .map((call) => ({ call, after: 8, times: 2, when: 'after' as const, error: busy })),
            { call: 'get', key: /^packs/, after: 2, times: 2, error: short },
          ]),
          patient,
        ),
    });
    await place.write('block-1', chunks, pool);
    expectAll(await place.read('block-1', pool), chunks);
    await pool.remove('block-1', place.nextFence, signal);
    await collect(pool);
    expect(await place.keys('packs/')).to.deep.equal([]);
  });

  it('loses nothing where a store does not show at once what was written', async () => {
    const place = await PackedPool.make();
    const lagging = (inner: Backend): Backend => lag(inner, 2);
    const pool = place.node({ wrap: lagging });
    await place.write('block-1', chunks, pool);
    await place.write('block-2', chunks, pool);
    await collect(place.node({ wrap: lagging }));
    await collect(place.node());
    expectAll(await place.read('block-1'), chunks);
    expectAll(await place.read('block-2'), chunks);
    expect(await place.write('block-3', chunks)).to.equal(0);
  });

  it('ends soon when it is told to, whatever hangs', async () => {
    const place = await PackedPool.make();
    await place.write('block-1', chunks);
    let asked = (): void => {};
    const waiting = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const hanging = (inner: Backend): Backend => ({
      ...bind(inner),
      get: (key, range, stop) => {
        if (!key.startsWith('packs/')) return inner.get(key, range, stop);
        asked();
        return new Promise(() => {});
      },
    });
    const reader = await place.node({ wrap: hanging }).openReader('block-1', signal);
    const stop = new AbortController();
    const reading = caught(reader.readChunk(0, Buffer.alloc(CHUNK), stop.signal));
    await waiting;
    stop.abort();
    expect(await reading).to.be.instanceOf(CancelledError);
    await reader.close();
  });

  it('loses nothing when a collection is killed at any of its calls, and the next one ends what it began', async () => {
    for (let after = 0; ; after++) {
      const place = await PackedPool.make();
      await place.write('block-1', chunks.slice(0, 4));
      await place.write('block-2', chunks.slice(3, 8));
      await place.write('block-3', noise(3, 7));
      const pool = place.node();
      await pool.remove('block-2', place.nextFence, signal);
      await pool.remove('block-3', place.nextFence, signal);
      const killed = place.node({ wrap: (inner) => dyingAfter(inner, after) });
      const done = await collect(killed).then(
        () => true,
        () => false,
      );
      expectAll(await place.read('block-1'), chunks.slice(0, 4));
      await place.write('block-4', chunks.slice(2, 6));
      expect(await collect(place.node())).to.deep.include({ keptObjects: 0, damaged: [], waitingFor: [] });
      expectAll(await place.read('block-1'), chunks.slice(0, 4));
      expectAll(await place.read('block-4'), chunks.slice(2, 6));
      expect(await place.bytes('packs/')).to.be.lessThan(12 * CHUNK);
      if (done) {
        expect(after).to.be.greaterThan(20);
        return;
      }
    }
  });
});

/** A key that was just written is not there for so many looks. */
function lag(inner: Backend, looks: number): Backend {
  const fresh = new Map<string, number>();
  const unseen = (key: string): boolean => {
    const left = /^(?:packs|sessions|segments|index)/.test(key) ? (fresh.get(key) ?? 0) : 0;
    fresh.set(key, Math.max(0, left - 1));
    return left > 0;
  };
  return {
    ...bind(inner),
    put: async (key, parts, stop) => {
      await inner.put(key, parts, stop);
      fresh.set(key, looks);
    },
    get: async (key, range, stop) => {
      if (unseen(key)) throw new ObjectNotFoundError(key, inner.name);
      return inner.get(key, range, stop);
    },
    head: async (key, stop) => (unseen(key) ? null : inner.head(key, stop)),
  };
}

/** Nothing reaches the store after so many calls. */
function dyingAfter(inner: Backend, calls: number): Backend {
  let left = calls;
  const step = async (): Promise<void> => {
    if (left-- <= 0) throw new PermanentError('killed', 'the process is gone');
  };
  return {
    ...bind(inner),
    put: (key, parts, stop) => step().then(() => inner.put(key, parts, stop)),
    putIfAbsent: (key, bytes, stop) => step().then(() => inner.putIfAbsent(key, bytes, stop)),
    get: (key, range, stop) => step().then(() => inner.get(key, range, stop)),
    head: (key, stop) => step().then(() => inner.head(key, stop)),
    remove: (key, stop) => step().then(() => inner.remove(key, stop)),
    async *list(prefix, stop) {
      await step();
      yield* inner.list(prefix, stop);
    },
  };
}

function bind(inner: Backend): Backend {
  return withFaults(inner, []);
}
