/** Appends bytes to a file through one small buffer, and leaves zeros out: they stay holes. */
import type { FileHandle } from 'node:fs/promises';
import { KIB, MIB } from '@openservice/domain';

const PAGE = 4 * KIB;
const ZEROS = Buffer.alloc(PAGE);

export class SparseAppender {
  readonly #handle: FileHandle;
  readonly #buffer = Buffer.allocUnsafeSlow(MIB);
  #filled = 0;
  /** Where the buffer's first byte belongs. */
  #position: number;

  /** `position`: the file's present size. */
  constructor(handle: FileHandle, position: number) {
    this.#handle = handle;
    this.#position = position;
  }

  /** Bytes appended in all, `position` included. */
  get offset(): number {
    return this.#position + this.#filled;
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; ) {
      const part = bytes.subarray(at, at + this.#buffer.length - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.byteLength;
      at += part.byteLength;
      if (this.#filled === this.#buffer.length) await this.#flush();
    }
  }

  /** All that was appended is on stable storage, and the file has exactly `offset` bytes. */
  async sync(): Promise<void> {
    await this.#flush();
    await this.#handle.truncate(this.#position);
    await this.#handle.sync();
  }

  async #flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#filled);
    for (let at = 0; at < bytes.length; ) {
      const from = at;
      // Pages of the file, not of the buffer: else a piece that begins anywhere would make holes that take up room.
      const step = (p: number): number => Math.min(bytes.length, p + PAGE - ((this.#position + p) % PAGE));
      if (isZero(bytes.subarray(at, step(at)))) {
        at = step(at);
        continue;
      }
      while (at < bytes.length && !isZero(bytes.subarray(at, step(at)))) at = step(at);
      await this.#write(bytes.subarray(from, at), this.#position + from);
    }
    this.#position += this.#filled;
    this.#filled = 0;
  }

  async #write(bytes: Buffer, position: number): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      at += (await this.#handle.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
    }
  }
}

function isZero(bytes: Buffer): boolean {
  return bytes.equals(bytes.length === PAGE ? ZEROS : ZEROS.subarray(0, bytes.length));
}
