/** A token bucket: bytes a second at most, with a burst of a quarter of a second. */
import { setTimeout as sleep } from 'node:timers/promises';

/** ms slept at a time, so that whoever watches sees that the wait is meant. */
const SLICE = 500;

export class Bandwidth {
  readonly #rate: number;
  readonly #onWait: () => void;
  #tokens: number;
  #filledAt = performance.now();

  /** `rate`: bytes a second, or null for no limit. `onWait` is called again and again while somebody waits. */
  constructor(rate: number | null, onWait: () => void) {
    this.#rate = rate ?? Number.POSITIVE_INFINITY;
    this.#onWait = onWait;
    this.#tokens = this.#rate / 4;
  }

  /** Takes `bytes` out and waits until the bucket has paid for them. Rejects when `signal` fires. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#rate === Number.POSITIVE_INFINITY) return;
    this.#fill();
    this.#tokens -= bytes;
    let wait = (-this.#tokens / this.#rate) * 1000;
    while (wait > 0) {
      this.#onWait();
      const slice = Math.min(wait, SLICE);
      await sleep(slice, undefined, { signal });
      wait -= slice;
    }
  }

  /** Bytes that were taken and then not used. */
  giveBack(bytes: number): void {
    this.#tokens += bytes;
  }

  #fill(): void {
    const now = performance.now();
    this.#tokens = Math.min(this.#rate / 4, this.#tokens + ((now - this.#filledAt) / 1000) * this.#rate);
    this.#filledAt = now;
  }
}
