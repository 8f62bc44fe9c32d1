/** Bounds the bytes of chunks that all requests of one way hold in memory. First come, first served. */
import { CancelledError } from '@openservice/domain';

interface Waiting {
  bytes: number;
  enter: () => void;
}

export class ByteGate {
  readonly #limit: number;
  readonly #queue: Waiting[] = [];
  #inside = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves when `bytes` may be held; more than the limit enter alone. Pair it with `leave`. CancelledError: they are not held. */
  async enter(bytes: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw new CancelledError('The client is gone.');
    if (this.#queue.length === 0 && this.#fits(bytes)) {
      this.#inside += bytes;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1);
        reject(new CancelledError('The client is gone.'));
        this.#admit();
      };
      const waiting: Waiting = {
        bytes,
        enter: () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#queue.push(waiting);
    });
  }

  leave(bytes: number): void {
    this.#inside -= bytes;
    this.#admit();
  }

  #admit(): void {
    while (this.#queue.length > 0 && this.#fits(this.#queue[0]!.bytes)) {
      const next = this.#queue.shift()!;
      this.#inside += next.bytes;
      next.enter();
    }
  }

  #fits(bytes: number): boolean {
    return this.#inside === 0 || this.#inside + bytes <= this.#limit;
  }
}
