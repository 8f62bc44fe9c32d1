import { type JobParams, jobParams, type Progress } from '@openservice/protocol';
import { expect } from 'chai';
import { Bench, contextOf, failure, type HandContext, nextAttempt, SIZE } from './jobs-bench.ts';

const never = new AbortController().signal;
type Context = HandContext<JobParams['move']>;

describe('move', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.make();
  });
  afterEach(() => bench.close());

  async function paramsOf(from: string, to: string): Promise<JobParams['move']> {
    return jobParams.move.parse({ block: await bench.imported(from), from_pool_id: from, pool_id: to });
  }

  /** From now on the source is removed only after the center has recorded a target that is there. */
  function guardSource({ block, from_pool_id, pool_id }: JobParams['move']): { removed: number } {
    const seen = { removed: 0 };
    const pool = bench.pools.get(from_pool_id);
    if (pool === undefined) throw new Error('no source pool');
    const remove = pool.remove.bind(pool);
    pool.remove = async (...args) => {
      const told = bench.center.recorded.at(-1)?.result;
      expect(told?.replicas.map(({ pool_id, state }) => [pool_id, state])).to.deep.equal([
        [pool_id, 'available'],
        [from_pool_id, 'removed'],
      ]);
      expect(told?.verified).to.equal(true);
      expect(await bench.has(pool_id, block.id)).to.equal(true);
      seen.removed += 1;
      await remove(...args);
    };
    return seen;
  }

  function watchRecord(context: Context): void {
    // The center has recorded by then: a run that dies here has only lost the answer.
    bench.center.onCall = () => context.step('record');
  }

  async function moved({ block, from_pool_id, pool_id }: JobParams['move']): Promise<void> {
    expect(await bench.has(from_pool_id, block.id)).to.equal(false);
    const reader = await bench.pools.get(pool_id)?.openReader(block.id, never);
    expect(reader?.rootDigest.toString('hex')).to.equal(block.root_digest);
    await reader?.close();
  }

  it('copies, reads back, records, and only then removes the source', async () => {
    const params = await paramsOf(bench.a, bench.d);
    const seen = guardSource(params);
    const context = contextOf(params);
    watchRecord(context);
    const result = await bench.handlers.move.run(context);
    expect(context.steps).to.deep.equal([
      'preparing',
      'checkpoint',
      'requestCommit',
      'assertLease',
      'checkpoint',
      'assertLease',
      'record',
      'assertLease',
    ]);
    expect(result).to.deep.include({ verified: true, root_digest: params.block.root_digest, size: SIZE });
    expect(result.progress).to.include({ bytes_total: SIZE, bytes_done: SIZE });
    expect(result.replicas[1]).to.deep.equal({ pool_id: bench.a, state: 'removed', stored_bytes: 0 });
    expect(seen.removed).to.equal(1);
    await moved(params);
  });

  it('tells how fast it reads back, and goes back behind no byte that it has told', async () => {
    const params = await paramsOf(bench.a, bench.d);
    const told: Progress[] = [];
    const context = contextOf(params, null, {
      onProgress: () => {
        if (context.last !== null) told.push(context.last);
      },
    });
    const { progress } = await bench.handlers.move.run(context);
    const done = told.map(({ bytes_done }) => bytes_done);
    expect(done).to.deep.equal([...done].sort((a, b) => a - b));
    expect(new Set(told.map(({ bytes_total }) => bytes_total))).to.deep.equal(new Set([SIZE]));
    const back = told.filter(({ bytes_done, eta_ms }) => bytes_done === SIZE && eta_ms !== null && eta_ms > 0);
    expect(back.length).to.be.greaterThan(3);
    for (const { rate, bytes_sent } of back) {
      expect(rate).to.be.greaterThan(0);
      expect(bytes_sent).to.equal(progress?.bytes_sent);
    }
    expect(told.at(-1)?.eta_ms).to.equal(0);
  });

  for (const [name, next] of [
    ['the same attempt goes on', contextOf],
    ['a new attempt goes on', nextAttempt],
  ] as const) {
    it(`ends the same wherever the node dies, and ${name}`, async () => {
      for (const [from, to] of [
        [bench.a, bench.d],
        [bench.d, bench.b],
      ] as const) {
        for (let step = 0; ; step++) {
          const params = await paramsOf(from, to);
          bench.center.recorded.length = 0;
          guardSource(params);
          const first: Context = contextOf(params, null, { atStep: step });
          watchRecord(first);
          const end = await bench.handlers.move.run(first).then(
            () => 'ended',
            (error: { code?: string }) => error.code,
          );
          if (end === 'ended') {
            expect(step).to.equal(8);
            break;
          }
          expect(end, `step ${step}`).to.equal('died');
          expect(await bench.has(from, params.block.id), `the source after step ${step}`).to.equal(true);
          bench.center.onCall = () => undefined;
          const result = await bench.handlers.move.run(next(params, first));
          expect(result.replicas.map(({ state }) => state)).to.deep.equal(['available', 'removed']);
          expect(result.verified).to.equal(true);
          await moved(params);
        }
      }
    });
  }

  it('answers again when the source is gone already, on a node that knows nothing of it', async () => {
    const params = await paramsOf(bench.d, bench.a);
    const first = contextOf(params);
    await bench.handlers.move.run(first);
    const forgetful = { ...first, saved: null };
    const result = await bench.handlers.move.run(nextAttempt(params, forgetful));
    expect(result).to.deep.include({ verified: true, root_digest: params.block.root_digest });
    await moved(params);
  });

  it('keeps the source and drops the target when it cannot be read back', async () => {
    const params = await paramsOf(bench.a, bench.b);
    const seen = guardSource(params);
    const context = contextOf(params);
    const target = bench.pools.get(bench.b);
    const openReader = target?.openReader.bind(target);
    if (target === undefined || openReader === undefined) throw new Error('no target pool');
    target.openReader = async (...args) => {
      await bench.flipBit(bench.b);
      return await openReader(...args);
    };
    expect(await failure(bench.handlers.move.run(context))).to.include({ code: 'damaged_chunk' });
    await bench.handlers.move.cleanUp(context);
    expect(bench.center.recorded).to.deep.equal([]);
    expect(seen.removed).to.equal(0);
    expect(await bench.has(bench.a, params.block.id)).to.equal(true);
    expect(await bench.has(bench.b, params.block.id)).to.equal(false);
    target.openReader = openReader;
    // The same attempt, whose failure did not reach the journal, may as well come to a good end.
    await bench.handlers.move.run(contextOf(params, context));
    await moved(params);
  });

  it('keeps both when the center does not record it', async () => {
    const params = await paramsOf(bench.a, bench.d);
    const seen = guardSource(params);
    bench.center.recording = { recorded: false, reason: 'a newer attempt' };
    const context = contextOf(params);
    expect(await failure(bench.handlers.move.run(context))).to.include({ code: 'fenced' });
    expect(seen.removed).to.equal(0);
    expect(await bench.has(bench.a, params.block.id)).to.equal(true);
  });

  it('refuses to move a block to where it is', async () => {
    const params = await paramsOf(bench.a, bench.a);
    expect(await failure(bench.handlers.move.run(contextOf(params)))).to.include({ code: 'same_pool' });
    expect(await bench.has(bench.a, params.block.id)).to.equal(true);
  });

  it('leaves a committed target alone when it is cleaned up', async () => {
    const params = await paramsOf(bench.a, bench.d);
    const context = contextOf(params);
    await bench.handlers.move.run(context);
    await bench.handlers.move.cleanUp(contextOf(params, context));
    await moved(params);
  });
});
