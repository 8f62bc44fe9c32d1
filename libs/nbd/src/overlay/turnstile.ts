/** Many pass at once; now and then somebody must be alone. */
export class Turnstile {
  #inside = 0;
  #gate: Promise<void> | null = null;
  #empty: (() => void) | null = null;
  readonly #leave = (): void => {
    if (--this.#inside === 0) this.#empty?.();
  };

  /** Nobody is alone, or wants to be. */
  get isOpen(): boolean {
    return this.#gate === null;
  }

  /** Runs `work` beside others. Whoever is inside must not pass once more: it would wait for somebody who waits for it. */
  pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#gate !== null) return this.#gate.then(() => this.pass(work));
    this.#inside++;
    const done = work();
    done.then(this.#leave, this.#leave);
    return done;
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
