/** Bites when nothing has moved for too long, so that no wait in a transfer is without a limit. */
import { TransientError } from '@openservice/domain';

export class Watchdog {
  readonly #timer: NodeJS.Timeout;
  #movedAt = performance.now();
  #seen = -1;

  /** `moving` answers a number that changes while bytes move; `limit` in ms. */
  constructor(limit: number, moving: () => number, bite: (error: TransientError) => void) {
    this.#timer = setInterval(
      () => {
        const now = moving();
        if (now !== this.#seen) this.touch();
        this.#seen = now;
        if (performance.now() - this.#movedAt < limit) return;
        const seconds = Math.round(limit / 1000);
        bite(
          new TransientError(
            'stalled',
            `No byte moved for ${seconds} s; the source or the target hangs. It will be tried again.`,
          ),
        );
      },
      Math.max(1, Math.min(limit / 8, 5000)),
    );
  }

  touch(): void {
    this.#movedAt = performance.now();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
