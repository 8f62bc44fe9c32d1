/** Takes checkpoints beside the copy: every few seconds in which something moved, or after so many bytes; one at a time. */
const INTERVAL = 4_000;
const BYTES = 256 * 1024 * 1024;

export class Checkpoints {
  readonly #take: () => Promise<void>;
  readonly #onError: (error: unknown) => void;
  readonly #timer: NodeJS.Timeout;
  #bytes = 0;
  #running: Promise<void> | null = null;
  #stopped = false;

  constructor(take: () => Promise<void>, onError: (error: unknown) => void) {
    this.#take = take;
    this.#onError = onError;
    this.#timer = setInterval(() => this.#begin(1), INTERVAL);
  }

  moved(bytes: number): void {
    this.#bytes += bytes;
    this.#begin(BYTES);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  /** No more are begun; resolves when the one under way has ended. Never rejects: errors go to `onError`. */
  async finish(): Promise<void> {
    this.stop();
    await this.#running;
  }

  #begin(least: number): void {
    if (this.#stopped || this.#running !== null || this.#bytes < least) return;
    this.#bytes = 0;
    this.#running = this.#take()
      .catch(this.#onError)
      .finally(() => {
        this.#running = null;
      });
  }
}
