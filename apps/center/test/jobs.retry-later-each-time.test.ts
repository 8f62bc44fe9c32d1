import { expect } from 'chai';
import { retryDelayMs } from '../src/jobs/retry-attempt.ts';

describe('how long a job waits for its next attempt', () => {
  it('is any part of a time that doubles with each failure, up to a minute', () => {
    const most = [0, 1, 2, 3, 4, 5, 6, 50].map((failures) => retryDelayMs(failures, () => 1));
    expect(most).to.deep.equal([2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    expect(retryDelayMs(3, () => 0)).to.equal(0);
    expect(retryDelayMs(3, () => 0.25)).to.equal(4_000);
  });

  it('is not the same for jobs that failed together', () => {
    const delays = Array.from({ length: 200 }, () => retryDelayMs(4));
    expect(Math.max(...delays) - Math.min(...delays)).to.be.greaterThan(16_000);
    expect(new Set(delays.map((ms) => Math.floor(ms / 4_000))).size, 'spread over all of it').to.equal(8);
  });
});
