/** Many pass at once; now and then somebody must be alone. */
export class Turnstile {
  #inside = 0;
  #gate: Promise<void> | null = null;
  #empty: (() => void) | null = null;

  /** Runs `work` beside others. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    while (this.#gate !== null) await this.#gate;
    this.#inside++;
    try {
      return await work();
    } finally {
      if (--this.#inside === 0) this.#empty?.();
    }
  }

  /** Runs `work` when all that are inside have left; who comes meanwhile waits. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    while (this.#gate !== null) await this.#gate;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gate = promise;
    try {
      if (this.#inside > 0) {
        await new Promise<void>((empty) => {
          this.#empty = empty;
        });
        this.#empty = null;
      }
      return await work();
    } finally {
      this.#gate = null;
      resolve();
    }
  }
}
