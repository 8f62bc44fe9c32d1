/**
 * A token bucket that any number of transfers share: bytes a second at most, with a burst of a quarter of a second. First come, first served:
 * each `take` queues behind those before it, so transfers with as many chunks in flight get as much. The rate may change at any
 * time, for those that wait as well.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** What bounds the bytes that are moved. */
export interface ByteLimit {
  /** Waits until `bytes` may be moved; `onWait` is called again and again meanwhile. Rejects when `signal` fires: they are not taken then. */
  take(bytes: number, signal: AbortSignal, onWait?: () => void): Promise<void>;
  /** Bytes that were taken and then not used. */
  giveBack(bytes: number): void;
}

export interface Clock {
  /** ms, monotonic. */
  now(): number;
  /** Rejects when `signal` fires. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** ms slept at a time, so that whoever watches sees that the wait is meant, and a new rate counts soon. */
const SLICE = 500;
const BURST_SECONDS = 0.25;

const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) => delay(ms, undefined, { signal }),
};

export class TokenBucket implements ByteLimit {
  readonly #clock: Clock;
  /** Bytes a second. */
  #rate = Number.POSITIVE_INFINITY;
  /** Bytes asked for by all so far; each waits until as many were supplied as had been asked for with its own. */
  #asked = 0;
  #supplied = 0;
  #suppliedAt: number;

  /** `rate`: bytes a second; null: no limit. */
  constructor(rate: number | null, clock: Clock = SYSTEM_CLOCK) {
    this.#clock = clock;
    this.#suppliedAt = clock.now();
    this.setRate(rate);
    if (rate !== null) this.#supplied = this.#asked + rate * BURST_SECONDS;
  }

  setRate(rate: number | null): void {
    this.#supply();
    this.#rate = rate ?? Number.POSITIVE_INFINITY;
    this.#supply();
  }

  async take(bytes: number, signal: AbortSignal, onWait: () => void = () => undefined): Promise<void> {
    this.#supply();
    this.#asked += bytes;
    if (this.#rate === Number.POSITIVE_INFINITY) this.#supplied = Math.max(this.#supplied, this.#asked);
    const turn = this.#asked;
    try {
      while (this.#supplied < turn) {
        onWait();
        await this.#clock.sleep(Math.min(SLICE, Math.ceil(((turn - this.#supplied) / this.#rate) * 1000)), signal);
        this.#supply();
      }
    } catch (error) {
      this.giveBack(bytes);
      throw error;
    }
  }

  giveBack(bytes: number): void {
    this.#supplied += bytes;
  }

  #supply(): void {
    const now = this.#clock.now();
    const since = (now - this.#suppliedAt) / 1000;
    this.#suppliedAt = now;
    if (this.#rate === Number.POSITIVE_INFINITY) this.#supplied = Math.max(this.#supplied, this.#asked);
    else this.#supplied = Math.min(this.#supplied + since * this.#rate, this.#asked + this.#rate * BURST_SECONDS);
  }
}
