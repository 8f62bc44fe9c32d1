/**
 * Objects as files under a directory, which must be there already. Strict fencing: putIfAbsent is link(2), which one
 * writer of all wins. A key cannot also be the folder of other keys.
 *
 * put: temporary file, fsync, rename, fsync of the directory. A crash leaves a temporary file at worst (`temp-files.ts`).
 */
import { constants, type Dirent } from 'node:fs';
import { type FileHandle, link, open, readdir, rename, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readCached } from '@openservice/codec';
import { PermanentError, TransientError } from '@openservice/domain';
import { type Backend, type ObjectInfo, ObjectNotFoundError, type Range } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { checkKey, checkPrefix, isKeySegment, totalBytes } from '../keys.ts';
import { isCode, isMissing, makeDirectories, mapped, statOrNull, syncDirectory, writeAll } from './durable.ts';
import { OpenFiles } from './open-files.ts';
import { sweepTempFiles, tempPath } from './temp-files.ts';

/** `root`: absolute path of a directory. Nothing is touched before the first call. */
export function createFsBackend(root: string): Backend {
  return new FsBackend(root);
}

/** A read of no more, of what the kernel has in memory, costs less than to hand it to another thread. */
const AT_ONCE_BYTES = 256 * 1024;

/** Each needs a `remove` at just that moment. */
const MAX_TRIES = 16;

class FsBackend implements Backend {
  readonly fencing = 'strict';
  readonly name: string;
  readonly #root: string;
  readonly #open = new OpenFiles();
  #sent = 0;
  #swept: Promise<unknown> | null = null;

  constructor(root: string) {
    this.#root = root;
    this.name = `directory ${root}`;
  }

  get bytesSent(): number {
    return this.#sent;
  }

  put(key: string, parts: Uint8Array | readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    return mapped(() => this.#write(key, parts, signal, (temp, path) => rename(temp, path)));
  }

  async putIfAbsent(key: string, bytes: Uint8Array, signal: AbortSignal): Promise<boolean> {
    checkKey(key);
    throwIfCancelled(signal);
    if ((await mapped(() => statOrNull(this.#path(key)))) !== null) return false;
    return mapped(() => this.#write(key, bytes, signal, linkOnce));
  }

  async get(key: string, range: Range | null, signal: AbortSignal, room = Buffer.allocUnsafe): Promise<Buffer> {
    checkKey(key);
    throwIfCancelled(signal);
    return mapped(() => (range === null ? this.#getWhole(key, signal) : this.#getPart(key, range, signal, room)));
  }

  async head(key: string, signal: AbortSignal): Promise<number | null> {
    checkKey(key);
    throwIfCancelled(signal);
    const info = await mapped(() => statOrNull(this.#path(key)));
    return info?.isFile() ? info.size : null;
  }

  /** Memory: the names of one directory a level. */
  async *list(prefix: string, signal: AbortSignal): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    yield* this.#walk(folder, prefix, signal);
  }

  async remove(key: string, signal: AbortSignal): Promise<void> {
    checkKey(key);
    throwIfCancelled(signal);
    await mapped(async () => {
      const path = this.#path(key);
      try {
        await unlink(path);
      } catch (error) {
        if (isMissing(error)) return;
        throw error;
      }
      await this.#prune(dirname(path));
    });
  }

  async capacity(signal: AbortSignal): Promise<number | null> {
    throwIfCancelled(signal);
    const info = await mapped(() => statfs(this.#root));
    return info.blocks * info.bsize;
  }

  async close(): Promise<void> {
    await this.#open.close();
  }

  async #getWhole(key: string, signal: AbortSignal): Promise<Buffer> {
    const handle = await this.#openObject(key);
    try {
      return await readExactly(handle, 0, Buffer.allocUnsafe((await handle.stat()).size), signal);
    } finally {
      await handle.close();
    }
  }

  async #getPart(key: string, { offset, length }: Range, signal: AbortSignal, room: (bytes: number) => Buffer): Promise<Buffer> {
    try {
      return await this.#open.use(this.#path(key), async (handle, info) => {
        if (!info.isFile()) throw new ObjectNotFoundError(key, this.name);
        if (offset + length > info.size) {
          throw new TransientError('short_read', `Object ${key} in ${this.name} ends before byte ${offset + length}.`);
        }
        const bytes = room(length);
        if (length <= AT_ONCE_BYTES && readCached(handle.fd, bytes, offset)) return bytes;
        return await readExactly(handle, offset, bytes, signal);
      });
    } catch (error) {
      if (!isMissing(error)) throw error;
      await stat(this.#root);
      throw new ObjectNotFoundError(key, this.name);
    }
  }

  #path(key: string): string {
    return join(this.#root, key);
  }

  /** Writes the parts to a temporary file and gives it its name with `place`. */
  async #write<T>(
    key: string,
    parts: Uint8Array | readonly Uint8Array[],
    signal: AbortSignal,
    place: (temp: string, path: string) => Promise<T>,
  ): Promise<T> {
    checkKey(key);
    throwIfCancelled(signal);
    await this.#sweepOnce();
    const temp = await tempPath(this.#root);
    try {
      const handle = await open(temp, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
      try {
        this.#sent += totalBytes(parts);
        await writeAll(handle, parts instanceof Uint8Array ? [parts] : parts);
        await handle.sync();
      } finally {
        await handle.close();
      }
      throwIfCancelled(signal);
      const path = this.#path(key);
      const placed = await this.#place(path, () => place(temp, path));
      await syncDirectory(dirname(path)).catch((error: unknown) => {
        // The object was removed meanwhile, and its folder with it.
        if (!isMissing(error)) throw error;
      });
      return placed;
    } finally {
      await unlink(temp).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    }
  }

  #sweepOnce(): Promise<unknown> {
    this.#swept ??= sweepTempFiles(this.#root).catch((error: unknown) => {
      this.#swept = null;
      throw error;
    });
    return this.#swept;
  }

  /** A folder that lacks is made; one that a `remove` took away in between, or while its own folders were made, again. */
  async #place<T>(path: string, place: () => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      try {
        if (tries > 0) await makeDirectories(this.#root, dirname(path));
        return await place();
      } catch (error) {
        if (isCode(error, 'EISDIR') || isCode(error, 'ENOTDIR')) {
          throw new PermanentError('invalid_key', `${path} is in the way of an object of ${this.name}.`, { cause: error });
        }
        if (!isCode(error, 'ENOENT') || tries === MAX_TRIES) throw error;
      }
    }
  }

  /** Removes folders that have become empty. */
  async #prune(folder: string): Promise<void> {
    for (let at = folder; at.length > this.#root.length; at = dirname(at)) {
      try {
        await rmdir(at);
      } catch (error) {
        if (isCode(error, 'ENOTEMPTY') || isCode(error, 'EEXIST')) return;
        if (!isMissing(error)) throw error;
      }
    }
  }

  async #openObject(key: string): Promise<FileHandle> {
    const path = this.#path(key);
    try {
      const handle = await open(path, constants.O_RDONLY);
      if ((await handle.stat()).isFile()) return handle;
      await handle.close();
    } catch (error) {
      if (!isMissing(error)) throw error;
      // A pool whose disk is not mounted must not pass for one whose objects were deleted.
      await stat(this.#root);
    }
    throw new ObjectNotFoundError(key, this.name);
  }

  async *#walk(folder: string, prefix: string, signal: AbortSignal): AsyncIterable<ObjectInfo> {
    throwIfCancelled(signal);
    for (const entry of await mapped(() => this.#entries(folder))) {
      const key = folder + entry.name;
      if (entry.isDirectory()) {
        const below = `${key}/`;
        if (below.startsWith(prefix) || prefix.startsWith(below)) yield* this.#walk(below, prefix, signal);
      } else if (entry.isFile() && key.startsWith(prefix)) {
        throwIfCancelled(signal);
        const info = await mapped(() => statOrNull(this.#path(key)));
        if (info !== null) yield { key, size: info.size };
      }
    }
  }

  /** In the byte order of the keys below: a folder sorts as its name and "/". */
  async #entries(folder: string): Promise<Dirent[]> {
    try {
      const entries = await readdir(join(this.#root, folder), { withFileTypes: true });
      const ours = entries.filter((entry) => isKeySegment(entry.name));
      const rank = (entry: Dirent): string => (entry.isDirectory() ? `${entry.name}/` : entry.name);
      return ours.sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
    } catch (error) {
      if (!isMissing(error)) throw error;
      await stat(this.#root);
      return [];
    }
  }
}

/** True when the link was made; by link count too, since a network filesystem may repeat a call that was done. */
async function linkOnce(temp: string, path: string): Promise<boolean> {
  try {
    await link(temp, path);
    return true;
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
    return (await stat(temp)).nlink === 2;
  }
}

/** Fills `bytes`. */
async function readExactly(handle: FileHandle, offset: number, bytes: Buffer, signal: AbortSignal): Promise<Buffer> {
  let at = 0;
  while (at < bytes.length) {
    throwIfCancelled(signal);
    const { bytesRead } = await handle.read(bytes, at, bytes.length - at, offset + at);
    if (bytesRead === 0) throw new TransientError('short_read', 'A file shrank while it was read.');
    at += bytesRead;
  }
  return bytes;
}
