/** The file that holds what was written over the base, at the offsets of the disk itself. Sparse. */
import { constants, read, write } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { asOpenServiceError, PermanentError } from '@openservice/domain';
import { punchHole, readCached } from '../libc.ts';

const ZEROS = Buffer.alloc(1024 * 1024);

export class DataFile {
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  static async open(path: string, size: number): Promise<DataFile> {
    try {
      const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
      const { size: now } = await handle.stat();
      if (now !== size) await handle.truncate(size);
      return new DataFile(handle);
    } catch (error) {
      throw asOpenServiceError(error);
    }
  }

  /** True when the kernel had all of it at hand; false: nothing is known of `target`. */
  readNow(target: Buffer, at: number): boolean {
    return readCached(this.#handle.fd, target, at);
  }

  read(target: Buffer, at: number): Promise<void> {
    return all(target, at, (got, done) => read(this.#handle.fd, target, got, target.length - got, at + got, done));
  }

  write(bytes: Buffer, at: number): Promise<void> {
    return all(bytes, at, (put, done) => write(this.#handle.fd, bytes, put, bytes.length - put, at + put, done));
  }

  /** The range reads as zeros: a hole where the filesystem makes them, else zeros are written. */
  async zero(at: number, length: number): Promise<void> {
    if (punchHole(this.#handle.fd, at, length)) return;
    for (let done = 0; done < length; done += ZEROS.length)
      await this.write(ZEROS.subarray(0, Math.min(ZEROS.length, length - done)), at + done);
  }

  /** Empties it; its size stays. */
  async clear(): Promise<void> {
    try {
      const { size } = await this.#handle.stat();
      await this.#handle.truncate(0);
      await this.#handle.truncate(size);
    } catch (error) {
      throw asOpenServiceError(error);
    }
  }

  /** Bytes of room that it takes. */
  async storedBytes(): Promise<number> {
    return (await this.#handle.stat()).blocks * 512;
  }

  async sync(): Promise<void> {
    try {
      await this.#handle.datasync();
    } catch (error) {
      throw asOpenServiceError(error);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

type Step = (done: number, callback: (error: NodeJS.ErrnoException | null, count: number) => void) => void;

/** Repeats `step` until all of `bytes` is moved. Without promises in between: this stands in the way of every cold read and every write. */
function all(bytes: Buffer, at: number, step: Step): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0;
    const next = (error: NodeJS.ErrnoException | null, count: number): void => {
      done += count;
      if (error !== null) reject(asOpenServiceError(error));
      else if (done === bytes.length) resolve();
      else if (count === 0) reject(new PermanentError('io_error', `The overlay's file ends before byte ${at + bytes.length}.`));
      else step(done, next);
    };
    step(0, next);
  });
}
