/** Waits between tries. */
import { setTimeout as delay } from 'node:timers/promises';

export interface BackoffOptions {
  /** First wait, ms. */
  minMs: number;
  /** Longest wait, ms. */
  maxMs: number;
}

/** Exponential waits with jitter (half to the whole of the step), so that many who failed together do not come back together. */
export class Backoff {
  readonly #options: BackoffOptions;
  #tries = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** The next wait in ms. */
  next(): number {
    const step = Math.min(this.#options.maxMs, this.#options.minMs * 2 ** Math.min(this.#tries++, 30));
    return step * (0.5 + Math.random() / 2);
  }

  reset(): void {
    this.#tries = 0;
  }

  /** Sleeps for the next wait. Rejects with the signal's reason once it fires. */
  async wait(signal: AbortSignal): Promise<void> {
    await sleep(this.next(), signal);
  }
}

/** Sleeps `ms`. Rejects with the signal's reason once it fires. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** `work`, or a rejection with the signal's reason, whichever comes first. `work` itself is not stopped by it. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    work.catch(() => undefined);
    throw signal.reason;
  }
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
