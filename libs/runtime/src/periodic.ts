/** A part that does the same thing again and again, one pass at a time, until it is stopped. */
import { sleep } from './backoff.ts';
import type { Part } from './lifecycle.ts';

export abstract class Periodic implements Part {
  readonly name: string;
  readonly #everyMs: number;
  readonly #stopping = new AbortController();
  #work: Promise<void> = Promise.resolve();

  /** `everyMs`: rest before each pass. */
  constructor(name: string, everyMs: number) {
    this.name = name;
    this.#everyMs = everyMs;
  }

  /** Fires when the part is told to stop. */
  protected get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** One pass. Tests call it by hand. */
  abstract pass(): Promise<void>;

  /** A pass that threw; the next one comes all the same. */
  protected abstract onError(error: unknown): void;

  async start(): Promise<void> {
    this.#work = this.#run();
  }

  /** Resolves when the pass under way has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error(`${this.name} stops.`));
    await this.#work;
  }

  async #run(): Promise<void> {
    for (;;) {
      // Its only error is the stop.
      await sleep(this.#everyMs, this.stopping).catch(() => undefined);
      if (this.stopping.aborted) return;
      try {
        await this.pass();
      } catch (error) {
        if (!this.stopping.aborted) this.onError(error);
      }
    }
  }
}
