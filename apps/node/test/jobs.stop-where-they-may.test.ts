import { CancelledError, newId, TransientError } from '@openservice/domain';
import { jobParams } from '@openservice/protocol';
import { expect } from 'chai';
import { withStopPoints } from '../src/jobs/stop-points.ts';
import { Bench, contextOf, failure } from './jobs-bench.ts';

describe('jobs without checkpoints of their own', () => {
  /** Rejects when `signal` fires. */
  const forever = (signal: AbortSignal) =>
    new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
  const context = (checkpoint: (state: unknown) => Promise<void>, signal: AbortSignal) => ({
    checkpoint,
    signal,
    log: () => undefined,
  });

  it('can be stopped while they work', async () => {
    const stop = new AbortController();
    const saved: unknown[] = [];
    const checkpoint = async (state: unknown): Promise<void> => {
      if (saved.push(state) < 3) return;
      stop.abort(new CancelledError('paused'));
      throw stop.signal.reason;
    };
    const work = withStopPoints(
      context(checkpoint, stop.signal),
      () => ({ at: 1 }),
      () => forever(stop.signal),
      1,
    );
    expect((await failure(work)).message).to.equal('paused');
    expect(saved).to.deep.equal([{ at: 1 }, { at: 1 }, { at: 1 }]);
  });

  it('go on when a checkpoint cannot be journalled, and make none when they have ended', async () => {
    let calls = 0;
    let enough: () => void = () => undefined;
    const checkpoint = async (): Promise<void> => {
      if (++calls === 3) enough();
      throw new TransientError('journal_unwritable', 'Full.');
    };
    const { signal } = new AbortController();
    const work = () => new Promise<string>((resolve) => (enough = () => resolve('done')));
    expect(await withStopPoints(context(checkpoint, signal), () => null, work, 1)).to.equal('done');
    expect(calls).to.equal(3);
  });

  it('a verify goes on behind the last replica that was done', async () => {
    const bench = await Bench.make();
    try {
      const block = await bench.imported();
      const upload = jobParams.upload.parse({ block, from_pool_id: bench.a, pool_id: bench.b });
      await bench.handlers.upload.run(contextOf(upload));
      const params = jobParams.verify.parse({ block, pool_ids: [bench.a, bench.b] });
      const first = contextOf(params);
      const save = first.checkpoint.bind(first);
      first.checkpoint = async (state) => {
        await save(state);
        throw new CancelledError('paused');
      };
      expect((await failure(bench.handlers.verify.run(first))).message).to.equal('paused');
      const away = bench.pools.get(bench.a);
      bench.pools.delete(bench.a);
      const result = await bench.handlers.verify.run(contextOf(params, first));
      if (away !== undefined) bench.pools.set(bench.a, away);
      expect(result.verified).to.equal(true);
      expect(result.replicas.map(({ pool_id, state }) => [pool_id, state])).to.deep.equal([
        [bench.a, 'available'],
        [bench.b, 'available'],
      ]);
      // What another verify left is nothing to go on from.
      const other = jobParams.verify.parse({ block: { ...block, id: newId('block') }, pool_ids: [bench.b] });
      const fresh = await bench.handlers.verify.run(contextOf(other, first));
      expect(fresh.verified).to.equal(false);
    } finally {
      await bench.close();
    }
  });
});
