/** Shared buffers that carry bytes to a worker thread and back into the pool: copies that become nobody's garbage. */
import { sharedBuffer } from './shared-buffer.ts';

const GRAIN = 256 * 1024;

export class Scratch {
  readonly #most: number;
  readonly #free: Buffer[] = [];

  /** Keeps `most` buffers at most when they are given back. */
  constructor(most: number) {
    this.#most = most;
  }

  /** At least `bytes` long. Give it back when no thread can touch it any more. */
  take(bytes: number): Buffer {
    const at = this.#free.findIndex((buffer) => buffer.length >= bytes);
    if (at >= 0) return this.#free.splice(at, 1)[0] as Buffer;
    // Too small, all that are free: one makes room for the larger.
    this.#free.pop();
    return sharedBuffer(Math.ceil(bytes / GRAIN) * GRAIN);
  }

  giveBack(buffer: Buffer): void {
    if (this.#free.length < this.#most) this.#free.push(buffer);
  }
}
