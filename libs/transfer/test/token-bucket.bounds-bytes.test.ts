import { expect } from 'chai';
import { Bandwidth } from '../src/bandwidth.ts';
import { TokenBucket } from '../src/token-bucket.ts';
import { FakeClock } from './fake-clock.ts';

const KIB = 1024;
const MIB = KIB * KIB;

describe('token bucket', () => {
  let clock: FakeClock;
  const stop = new AbortController();
  beforeEach(() => {
    clock = new FakeClock();
  });

  /** A transfer: `lanes` chunks at once, each taken as soon as the one before it in its lane was granted. */
  function transfer(
    take: (bytes: number, signal: AbortSignal) => Promise<void>,
    chunk: number,
    lanes: number,
    signal = stop.signal,
  ) {
    const granted = { bytes: 0 };
    for (let lane = 0; lane < lanes; lane++) {
      void (async () => {
        while (!signal.aborted) {
          await take(chunk, signal);
          granted.bytes += chunk;
        }
      })().catch(() => undefined);
    }
    return granted;
  }
  const through = (bucket: TokenBucket) => (bytes: number, signal: AbortSignal) => bucket.take(bytes, signal);

  it('grants its rate and a quarter of a second, to the chunk', async () => {
    const bucket = new TokenBucket(8 * MIB, clock);
    const { signal } = new AbortController();
    const granted = transfer(through(bucket), MIB, 8, signal);
    await clock.pass(0);
    expect(granted.bytes).to.equal(2 * MIB);
    await clock.pass(10_000);
    expect(granted.bytes).to.equal(82 * MIB);
  });

  it('gives two transfers half each, whatever the size of their chunks is to the rate', async () => {
    const bucket = new TokenBucket(MIB, clock);
    const first = transfer(through(bucket), MIB, 8);
    const second = transfer(through(bucket), MIB, 8);
    await clock.pass(100_000);
    expect(first.bytes + second.bytes).to.equal(100 * MIB);
    expect(Math.abs(first.bytes - second.bytes)).to.be.at.most(8 * MIB);
  });

  it('gives all to the one that is left, and what was not used to others', async () => {
    const bucket = new TokenBucket(MIB, clock);
    const gone = new AbortController();
    const first = transfer(through(bucket), MIB, 8, gone.signal);
    const second = transfer(through(bucket), MIB, 8);
    await clock.pass(20_000);
    const before = { first: first.bytes, second: second.bytes };
    gone.abort(new Error('stopped'));
    await clock.pass(20_000);
    expect(first.bytes).to.equal(before.first);
    expect(second.bytes - before.second).to.be.within(19 * MIB, 21 * MIB);
    bucket.giveBack(5 * MIB);
    const then = second.bytes;
    await clock.pass(10_000);
    expect(second.bytes - then).to.be.within(14 * MIB, 16 * MIB);
  });

  it('follows a new rate, also for those that wait already, and grants all at once without one', async () => {
    const bucket = new TokenBucket(KIB, clock);
    const waits: string[] = [];
    const take = bucket.take(100 * MIB, stop.signal, () => waits.push('wait')).then(() => waits.push('granted'));
    await clock.pass(60_000);
    expect(waits).to.not.include('granted');
    expect(waits.length).to.be.at.least(100);
    bucket.setRate(100 * MIB);
    await clock.pass(1500);
    await take;
    bucket.setRate(null);
    await bucket.take(1000 * MIB, stop.signal);
    bucket.setRate(MIB);
    const granted = transfer(through(bucket), MIB / 4, 1);
    await clock.pass(10_000);
    expect(granted.bytes).to.equal(10 * MIB);
  });

  it('saves up no more than a quarter of a second while nobody asks', async () => {
    const bucket = new TokenBucket(4 * MIB, clock);
    await clock.pass(3_600_000);
    const granted = transfer(through(bucket), MIB, 4);
    await clock.pass(1000);
    expect(granted.bytes).to.equal(5 * MIB);
  });

  it('lets the strictest of several limits win', async () => {
    const node = new TokenBucket(10 * MIB, clock);
    const [slow, fast] = [new TokenBucket(2 * MIB, clock), new TokenBucket(null, clock)];
    const one = new Bandwidth(null, [node, slow], () => undefined);
    const other = new Bandwidth(null, [node, fast], () => undefined);
    const first = transfer((bytes, signal) => one.take(bytes, signal), MIB, 8);
    const second = transfer((bytes, signal) => other.take(bytes, signal), MIB, 8);
    await clock.pass(100_000);
    expect(first.bytes / MIB).to.be.within(195, 205);
    expect(second.bytes / MIB).to.be.within(785, 805);
  });

  it('rejects with the reason when it is stopped', async () => {
    const bucket = new TokenBucket(1, clock);
    const error = await bucket.take(MIB, AbortSignal.abort(new Error('cancelled'))).catch((thrown: Error) => thrown);
    expect(String(error)).to.include('cancelled');
    await clock.pass(0);
    await bucket.take(0, stop.signal);
  });
});
