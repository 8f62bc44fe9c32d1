/**
 * Chunks in flight. `start` gives a chunk a buffer and sets its work going; it waits while every buffer is taken, and while
 * the chunk lies 64 or more past the lowest one that has not ended (the writer's contract). The first error stops all others:
 * their signal fires, `start` and `drain` throw it, once nothing runs any more. No rejection is left unhandled.
 */
import { setMaxListeners } from 'node:events';
import { sharedBuffer } from '@openservice/codec';
import { CancelledError, OpenServiceError } from '@openservice/domain';

/** How far past the lowest unfinished chunk another may be put: BlockWriter's contract. */
const REORDER_WINDOW = 64;
const DEFAULT_WINDOW = 16;
/** Bytes of buffers in one transfer, whatever the size of a chunk: one chunk at least. */
const MAX_BUFFER_BYTES = 64 * 1024 * 1024;

export type ChunkWork = (buffer: Buffer, signal: AbortSignal) => Promise<void>;

export class Lanes {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal;
  readonly #onOuterAbort: () => void;
  readonly #window: number;
  readonly #chunkSize: number;
  readonly #free: Buffer[] = [];
  readonly #running = new Set<number>();
  #made = 0;
  #failed = false;
  #error: unknown;
  #wake: (() => void)[] = [];

  constructor(options: { window: number | undefined; chunkSize: number; signal: AbortSignal }) {
    const most = Math.max(1, Math.floor(MAX_BUFFER_BYTES / options.chunkSize));
    this.#window = Math.max(1, Math.min(options.window ?? DEFAULT_WINDOW, REORDER_WINDOW, most));
    this.#chunkSize = options.chunkSize;
    this.#outer = options.signal;
    this.#onOuterAbort = () => this.fail(abortReason(this.#outer));
    setMaxListeners(0, this.#controller.signal);
    if (this.#outer.aborted) this.#onOuterAbort();
    else this.#outer.addEventListener('abort', this.#onOuterAbort, { once: true });
  }

  /** Fires at the first error, and when the caller's signal does. Its reason is that error. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Indices must ascend. */
  async start(index: number, work: ChunkWork): Promise<void> {
    await this.#room(index);
    const buffer = this.#free.pop() ?? this.#newBuffer();
    this.#running.add(index);
    void this.#run(index, buffer, work);
  }

  /** Resolves when nothing runs; throws the first error. */
  async drain(): Promise<void> {
    while (this.#running.size > 0) await this.#change();
    this.throwIfFailed();
  }

  /** Stops everything with `error`, unless an earlier one did. */
  fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#error = error;
    this.#controller.abort(error);
    this.#changed();
  }

  throwIfFailed(): void {
    if (this.#failed) throw this.#error;
  }

  /** Lets go of the caller's signal. */
  close(): void {
    this.#outer.removeEventListener('abort', this.#onOuterAbort);
  }

  async #room(index: number): Promise<void> {
    for (;;) {
      this.throwIfFailed();
      // With nothing running the lowest is infinite, and any chunk may start.
      if (this.#running.size < this.#window && index - this.#lowest() < REORDER_WINDOW) return;
      await this.#change();
    }
  }

  #lowest(): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const index of this.#running) lowest = Math.min(lowest, index);
    return lowest;
  }

  async #run(index: number, buffer: Buffer, work: ChunkWork): Promise<void> {
    try {
      await work(buffer, this.#controller.signal);
    } catch (error) {
      this.fail(error);
    }
    this.#running.delete(index);
    this.#free.push(buffer);
    this.#changed();
  }

  #newBuffer(): Buffer {
    this.#made++;
    if (this.#made > this.#window) throw new Error('a lane lost its buffer');
    return sharedBuffer(this.#chunkSize);
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #changed(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/** Why a signal fired, as one of our errors: a bare `abort()` is a cancellation. */
export function abortReason(signal: AbortSignal): OpenServiceError {
  if (signal.reason instanceof OpenServiceError) return signal.reason;
  return new CancelledError('The transfer was stopped.', { cause: signal.reason });
}
