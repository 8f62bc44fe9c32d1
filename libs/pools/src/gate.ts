import { CancelledError } from '@openservice/domain';

/** Rejects once `signal` fires; else as `promise` settles. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    // Nobody waits for it any more.
    promise.catch(() => undefined);
    throw new CancelledError('The work was stopped.');
  }
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new CancelledError('The work was stopped.'));
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Bounds what is under way at once; the bound may change as work goes on. First come, first served. */
export class Gate {
  readonly #limit: () => number;
  readonly #queue: { amount: number; enter: () => void }[] = [];
  #inside = 0;

  constructor(limit: () => number) {
    this.#limit = limit;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** Resolves when `amount` is inside; one that is larger than the limit enters alone. Always pair it with `leave`. */
  async enter(amount: number): Promise<void> {
    if (this.#queue.length === 0 && this.#fits(amount)) {
      this.#inside += amount;
      return;
    }
    await new Promise<void>((enter) => this.#queue.push({ amount, enter }));
  }

  leave(amount: number): void {
    this.#inside -= amount;
    while (this.#queue.length > 0 && this.#fits(this.#queue[0]!.amount)) {
      const next = this.#queue.shift()!;
      this.#inside += next.amount;
      next.enter();
    }
  }

  #fits(amount: number): boolean {
    return this.#inside === 0 || this.#inside + amount <= this.#limit();
  }
}
