/** A block device, or a file that exists. */
import type { FileHandle } from 'node:fs/promises';
import { asOpenServiceError, CancelledError, PermanentError } from '@openservice/domain';
import { fallocateHole } from '@openservice/pools';
import type { TargetFile } from '../import-roots.ts';
import type { Place } from './place.ts';

/** Bytes made a hole in one call, which keeps the event loop. */
const HOLE_STEP = 64 * 1024 * 1024;
const ZEROS = Buffer.alloc(1024 * 1024);

/** `size`: of the block. A file gets just that size; a device must have as much. PermanentError `target_too_small`. */
export async function filePlace(file: TargetFile, path: string, size: number): Promise<Place> {
  if (file.device) demandRoom(path, file.size, size);
  else if (file.size !== size) await file.handle.truncate(size).catch(mapped);
  const { dev, ino, rdev } = await file.handle.stat({ bigint: true });
  return new FilePlace(file.handle, { dev: String(dev), ino: String(ino), rdev: String(rdev) });
}

/** PermanentError `target_too_small`. */
export function demandRoom(name: string, room: number, size: number): void {
  if (room >= size) return;
  throw new PermanentError('target_too_small', `${name} has ${room} bytes and the block ${size}; name a larger target.`);
}

class FilePlace implements Place {
  readonly identity: unknown;
  readonly #handle: FileHandle;
  #holes = true;

  constructor(handle: FileHandle, identity: unknown) {
    this.#handle = handle;
    this.identity = identity;
  }

  async read(offset: number, target: Buffer, signal: AbortSignal): Promise<void> {
    throwIfStopped(signal);
    for (let at = 0; at < target.length; ) {
      const { bytesRead } = await this.#handle.read(target, at, target.length - at, offset + at).catch(mapped);
      if (bytesRead === 0)
        throw new PermanentError('target_changed', `The target ends at byte ${offset + at}; something cut it off.`);
      at += bytesRead;
    }
  }

  async write(offset: number, bytes: Buffer, signal: AbortSignal): Promise<void> {
    throwIfStopped(signal);
    for (let at = 0; at < bytes.length; ) {
      at += (await this.#handle.write(bytes, at, bytes.length - at, offset + at).catch(mapped)).bytesWritten;
    }
  }

  async zero(offset: number, length: number, signal: AbortSignal): Promise<void> {
    for (let at = 0; at < length; at += HOLE_STEP) {
      throwIfStopped(signal);
      const step = Math.min(HOLE_STEP, length - at);
      // Of a block device, too, the kernel promises zeros after it, or refuses.
      this.#holes &&= fallocateHole(this.#handle.fd, offset + at, step);
      if (this.#holes) await new Promise(setImmediate);
      else await this.#writeZeros(offset + at, step, signal);
    }
  }

  async flush(): Promise<void> {
    await this.#handle.sync().catch(mapped);
  }

  async storedBytes(): Promise<number> {
    return (await this.#handle.stat().catch(mapped)).blocks * 512;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  /** Reads first: what is zero already costs no write. */
  async #writeZeros(offset: number, length: number, signal: AbortSignal): Promise<void> {
    const there = Buffer.allocUnsafe(Math.min(ZEROS.length, length));
    for (let at = 0; at < length; at += ZEROS.length) {
      const part = there.subarray(0, Math.min(ZEROS.length, length - at));
      await this.read(offset + at, part, signal);
      const zeros = ZEROS.subarray(0, part.length);
      if (!part.equals(zeros)) await this.write(offset + at, zeros, signal);
    }
  }
}

function throwIfStopped(signal: AbortSignal): void {
  if (signal.aborted) throw new CancelledError('The work was stopped.', { cause: signal.reason });
}

function mapped(error: unknown): never {
  throw asOpenServiceError(error);
}
