import type { BlockWriter, Prepared } from '../pool.ts';

/** The writer of a block that this very job has committed already: everything is there, and stays. */
export class CommittedWriter implements BlockWriter {
  readonly bytesSent = 0;
  readonly #prepared: Prepared;
  readonly #sweep: (signal: AbortSignal) => Promise<void>;

  /** `sweep` removes what a crash right after the commit left. */
  constructor(prepared: Prepared, sweep: (signal: AbortSignal) => Promise<void>) {
    this.#prepared = prepared;
    this.#sweep = sweep;
  }

  has(): boolean {
    return true;
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    return digests.map(() => false);
  }

  async put(): Promise<void> {}

  hole(): void {}

  async checkpoint(): Promise<void> {}

  async prepare(): Promise<Prepared> {
    return this.#prepared;
  }

  async commit(signal: AbortSignal): Promise<void> {
    await this.#sweep(signal);
  }

  async abort(): Promise<void> {}

  async close(): Promise<void> {}
}
