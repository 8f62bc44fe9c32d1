/** What one transfer may move: as its own limit and all those that it shares with others allow; the strictest wins. */
import { type ByteLimit, TokenBucket } from './token-bucket.ts';

export class Bandwidth {
  readonly #limits: readonly ByteLimit[];
  readonly #onWait: () => void;

  /** `rate`: bytes a second, or null for no limit of its own. `onWait` is called again and again while somebody waits. */
  constructor(rate: number | null, shared: readonly ByteLimit[], onWait: () => void) {
    this.#limits = rate === null ? shared : [new TokenBucket(rate), ...shared];
    this.#onWait = onWait;
  }

  /** Takes `bytes` out of each and waits until all have paid for them. Rejects when `signal` fires. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    await Promise.all(this.#limits.map((limit) => limit.take(bytes, signal, this.#onWait)));
  }

  /** Bytes that were taken and then not used. */
  giveBack(bytes: number): void {
    for (const limit of this.#limits) limit.giveBack(bytes);
  }
}
