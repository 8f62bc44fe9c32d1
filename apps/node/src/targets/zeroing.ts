/** Ranges of zeros, made one after the other beside the copy: `hole()` of a writer cannot wait, what comes after it does. */
import type { Place } from './place.ts';

/** Ranges that may wait before chunks are held back. */
const MOST = 1000;

export class Zeroing {
  readonly #place: Place;
  readonly #stop = new AbortController();
  #waiting: { start: number; end: number }[] = [];
  #running: Promise<void> | null = null;
  #error: unknown = null;

  constructor(place: Place) {
    this.#place = place;
  }

  add(start: number, end: number): void {
    const last = this.#waiting.at(-1);
    if (last !== undefined && last.end === start) last.end = end;
    else this.#waiting.push({ start, end });
    this.#running ??= this.#run();
  }

  /** Waits while too many ranges do. Throws what zeroing failed with. */
  async room(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length > MOST) await this.done(signal);
    if (this.#error !== null) throw this.#error;
  }

  /** All that was added before is made. */
  async done(signal: AbortSignal): Promise<void> {
    const onAbort = () => this.#stop.abort(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (this.#running !== null) await this.#running;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    if (this.#error !== null) throw this.#error;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    try {
      for (let range = this.#waiting.shift(); range !== undefined; range = this.#waiting.shift()) {
        await this.#place.zero(range.start, range.end - range.start, this.#stop.signal);
      }
    } catch (error) {
      this.#error = error;
      this.#waiting = [];
    }
    this.#running = null;
  }
}
