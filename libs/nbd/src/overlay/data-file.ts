/** The file that holds what was written over the base, at the offsets of the disk itself. Sparse. */
import { constants, read, write, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asOpenServiceError, PermanentError } from '@openservice/domain';
import { punchHole, punchHoleAside, readCached } from '../libc.ts';
import { syncDirectory } from './directory.ts';

const ZEROS = Buffer.alloc(1024 * 1024);
/** A hole larger than this is made on another thread. */
const LARGE_HOLE = 4 * 1024 * 1024;
/** A write at once that took longer (ms) has waited for the disk: the kernel slows down whoever dirties too much. */
const SLOW_WRITE = 2;
/** So many times as long no write is tried at once: others' requests wait a twentieth of the time at most. */
const REST = 20;

export class DataFile {
  readonly #handle: FileHandle;
  readonly #fd: number;
  #busy = 0;
  #closed: Promise<void> | null = null;
  #quiet: (() => void) | null = null;
  #restsUntil = 0;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
    this.#fd = handle.fd;
  }

  /** Made where it is not there, durably. */
  static async open(path: string, size: number): Promise<DataFile> {
    let handle: FileHandle | null = null;
    try {
      handle = await open(path, constants.O_RDWR).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      });
      const found = handle === null ? null : (await handle.stat()).size;
      handle ??= await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      if (found !== size) {
        await handle.truncate(size);
        await handle.sync();
      }
      if (found === null) await syncDirectory(dirname(path));
      return new DataFile(handle);
    } catch (error) {
      await handle?.close();
      throw asOpenServiceError(error);
    }
  }

  /** True when the kernel had all of it at hand; false: nothing is known of `target`. */
  readNow(target: Buffer, at: number): boolean {
    return this.#closed === null && readCached(this.#fd, target, at);
  }

  read(target: Buffer, at: number): Promise<void> {
    return this.#all(target, at, (got, done) => read(this.#fd, target, got, target.length - got, at + got, done));
  }

  /** Into the kernel's memory, where that is not slow at the moment. False: nothing is known of what the file holds there. */
  writeNow(bytes: Buffer, at: number): boolean {
    const since = performance.now();
    if (since < this.#restsUntil || this.#closed !== null) return false;
    try {
      return writeSync(this.#fd, bytes, 0, bytes.length, at) === bytes.length;
    } catch {
      // Told by `write`, which is tried next.
      return false;
    } finally {
      const now = performance.now();
      if (now - since > SLOW_WRITE) this.#restsUntil = now + (now - since) * REST;
    }
  }

  write(bytes: Buffer, at: number): Promise<void> {
    return this.#all(bytes, at, (put, done) => write(this.#fd, bytes, put, bytes.length - put, at + put, done));
  }

  /** The range reads as zeros: a hole where the filesystem makes them, else zeros are written. */
  async zero(at: number, length: number): Promise<void> {
    if (length <= LARGE_HOLE ? this.#closed === null && punchHole(this.#fd, at, length) : await this.#punchAside(at, length))
      return;
    for (let done = 0; done < length; done += ZEROS.length)
      await this.write(ZEROS.subarray(0, Math.min(ZEROS.length, length - done)), at + done);
  }

  /** Empties it; its size stays. */
  async clear(): Promise<void> {
    try {
      const { size } = await this.#handle.stat();
      await this.#handle.truncate(0);
      await this.#handle.truncate(size);
      await this.#handle.sync();
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

  /** When all that is under way has ended: its number may be another file's right after. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      if (this.#busy > 0) {
        await new Promise<void>((quiet) => {
          this.#quiet = quiet;
        });
      }
      await this.#handle.close();
    })();
    return this.#closed;
  }

  async #punchAside(at: number, length: number): Promise<boolean> {
    if (this.#closed !== null) throw gone();
    this.#busy++;
    try {
      return await punchHoleAside(this.#fd, at, length);
    } finally {
      this.#leave();
    }
  }

  /** Repeats `step` until all of `bytes` is moved. Without promises in between: this stands in the way of every cold read and every write. */
  #all(bytes: Buffer, at: number, step: Step): Promise<void> {
    if (this.#closed !== null) return Promise.reject(gone());
    this.#busy++;
    return new Promise((resolve, reject) => {
      let done = 0;
      const next = (error: NodeJS.ErrnoException | null, count: number): void => {
        if (error === null) done += count;
        if (error === null && done < bytes.length && count > 0) {
          step(done, next);
          return;
        }
        this.#leave();
        if (error !== null) reject(asOpenServiceError(error));
        else if (done === bytes.length) resolve();
        else reject(new PermanentError('io_error', `The overlay's file ends before byte ${at + bytes.length}.`));
      };
      step(0, next);
    });
  }

  #leave(): void {
    if (--this.#busy === 0) this.#quiet?.();
  }
}

type Step = (done: number, callback: (error: NodeJS.ErrnoException | null, count: number) => void) => void;

function gone(): PermanentError {
  return new PermanentError('instance_closed', 'The disk was taken away.');
}
