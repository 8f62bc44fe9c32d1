import { expect } from 'chai';
import { Watchdog } from '../src/watchdog.ts';

describe('the watchdog of a transfer', () => {
  it('does not bite for a time in which the process was paused', async () => {
    const bites: unknown[] = [];
    let looks = 0;
    let moved = 0;
    await new Promise<void>((resolve) => {
      const watchdog = new Watchdog(
        200,
        () => {
          looks++;
          // The process stands still, as under SIGSTOP; right after, one look finds nothing moved yet, the next one does.
          if (looks === 2) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
          if (looks === 4) moved++;
          if (looks === 5) {
            watchdog.stop();
            resolve();
          }
          return moved;
        },
        (error) => bites.push(error),
      );
    });
    expect(bites).to.deep.equal([]);
  });

  it('bites when nothing moves', async () => {
    const error = await new Promise<Error>((resolve) => {
      const watchdog = new Watchdog(
        40,
        () => 7,
        (bite) => {
          watchdog.stop();
          resolve(bite);
        },
      );
    });
    expect(error).to.have.property('code', 'stalled');
  });
});
