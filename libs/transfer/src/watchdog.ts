/**
 * Bites when nothing has moved for too long, so that no wait in a transfer is without a limit. Time in which this process did not
 * run (stopped, its container or machine paused) does not count: nothing could move then.
 */
import { TransientError } from '@openservice/domain';

export class Watchdog {
  readonly #timer: NodeJS.Timeout;
  #quiet = 0;
  #seen = -1;

  /** `moving` answers a number that changes while bytes move; `limit` in ms. */
  constructor(limit: number, moving: () => number, bite: (error: TransientError) => void) {
    const every = Math.max(1, Math.min(limit / 8, 5000));
    let lookedAt = performance.now();
    this.#timer = setInterval(() => {
      const since = performance.now() - lookedAt;
      lookedAt += since;
      // A look that comes late counts as two at most.
      this.#quiet += Math.min(since, 2 * every);
      const now = moving();
      if (now !== this.#seen) this.touch();
      this.#seen = now;
      if (this.#quiet < limit) return;
      const seconds = Math.round(limit / 1000);
      bite(
        new TransientError('stalled', `No byte moved for ${seconds} s; the source or the target hangs. It will be tried again.`),
      );
    }, every);
  }

  touch(): void {
    this.#quiet = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
