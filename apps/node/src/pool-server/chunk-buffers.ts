/** Shared buffers for chunks, used again and again: made anew each time, they would pile up until the next full collection of garbage. */
import { sharedBuffer } from '@openservice/codec';

const MAX_FREE = 24;

export class ChunkBuffers {
  #free: Buffer[] = [];

  /** Runs `work` with a buffer of at least `bytes` bytes, which is free again when it has ended. */
  async with<T>(bytes: number, work: (buffer: Buffer) => Promise<T>): Promise<T> {
    const at = this.#free.findIndex((buffer) => buffer.length >= bytes && buffer.length <= 4 * bytes);
    const buffer = at >= 0 ? this.#free.splice(at, 1)[0]! : sharedBuffer(bytes);
    try {
      return await work(buffer);
    } finally {
      this.#free.push(buffer);
      if (this.#free.length > MAX_FREE) this.#free.shift();
    }
  }
}
