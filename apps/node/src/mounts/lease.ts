/** An opened reader that many use at once: closed when the last one that uses it has ended, so that nobody reads from a closed file. */
import { TransientError } from '@openservice/domain';
import type { BlockReader } from '@openservice/pools';

export class Lease {
  readonly reader: BlockReader;
  /** Stops all that is under way. */
  readonly #stop = new AbortController();
  /** `#stop` together with the caller's signal, which is the same again and again. */
  #joined: { from: AbortSignal; signal: AbortSignal } | null = null;
  #uses = 0;
  #ended = false;
  #closed = false;

  constructor(reader: BlockReader) {
    this.reader = reader;
  }

  /** TransientError `unreachable` when `work` takes longer than `limitMs`: all others that wait for the same reader are stopped with it. */
  async use<T>(signal: AbortSignal, limitMs: number, work: (reader: BlockReader, signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#uses++;
    const limit = setTimeout(() => this.#stop.abort(), Math.max(0, limitMs));
    try {
      return await work(this.reader, this.#with(signal));
    } catch (error) {
      if (!this.#stop.signal.aborted || signal.aborted) throw error;
      throw new TransientError('unreachable', 'The pool does not answer.', { cause: error });
    } finally {
      clearTimeout(limit);
      this.#uses--;
      this.#closeIdle();
    }
  }

  /** No further use. What is under way ends as it would. May be called again. */
  end(): void {
    this.#ended = true;
    this.#closeIdle();
  }

  #with(signal: AbortSignal): AbortSignal {
    if (this.#joined?.from !== signal) this.#joined = { from: signal, signal: AbortSignal.any([signal, this.#stop.signal]) };
    return this.#joined.signal;
  }

  #closeIdle(): void {
    if (!this.#ended || this.#uses > 0 || this.#closed) return;
    this.#closed = true;
    // It was read only: nothing is lost by an error here, and nobody could do anything about it.
    void this.reader.close().catch(() => undefined);
  }
}
