/**
 * The only way from a path that a person gave to a file of this node. A path counts by where it really leads: symbolic
 * links are followed first, then the real place must lie within an import root. What was opened is asked again where it lies
 * (/proc/self/fd), so a link that is swapped in between the check and the open is caught.
 */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readFile, readlink, realpath, stat, statfs } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, sep } from 'node:path';
import { PermanentError } from '@openservice/domain';

export interface SourceFile {
  /** Open for reading; the caller closes it. */
  readonly handle: FileHandle;
  /** Where the file really lies, links followed. */
  readonly realPath: string;
  /** Bytes. */
  readonly size: number;
}

/** What a restore may write over. */
export interface TargetFile {
  /** Open for reading and writing; the caller closes it. */
  readonly handle: FileHandle;
  readonly realPath: string;
  /** Bytes. */
  readonly size: number;
  /** A block device; else a regular file. */
  readonly device: boolean;
}

export class ImportRoots {
  readonly #roots: readonly string[];

  /** `roots`: absolute directories; one that is not there (yet) allows nothing. */
  constructor(roots: readonly string[]) {
    this.#roots = roots.map((root) => normalize(root));
  }

  /** As configured; for people. */
  get list(): string[] {
    return [...this.#roots];
  }

  /**
   * Opens a regular file or block device for reading. PermanentError `path_not_allowed`, `source_not_found`,
   * `source_unreadable`, `source_not_a_file`.
   */
  async openSource(path: string): Promise<SourceFile> {
    const realPath = await this.#realSource(path);
    // O_NONBLOCK: opening a FIFO that nobody writes would wait for ever.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(realPath, flags).catch((cause: NodeJS.ErrnoException) => {
      throw this.#sourceError(path, cause);
    });
    try {
      await this.#demandOpenedInside(path, handle, realPath);
      const stats = await handle.stat();
      if (!stats.isFile() && !stats.isBlockDevice()) {
        throw new PermanentError('source_not_a_file', `${path} is neither a regular file nor a block device; name a disk image.`);
      }
      return { handle, realPath, size: stats.isFile() ? stats.size : await blockDeviceSize(stats, path) };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * Opens what stands at `path` for writing over; null where nothing does. A block device is opened exclusively: the kernel refuses one that
   * is mounted, or part of something that is. A regular file only with `overwrite`. PermanentError `path_not_allowed`,
   * `target_exists`, `target_busy`, `target_unwritable`, `target_not_a_file`.
   */
  async openTarget(path: string, options: { overwrite: boolean }): Promise<TargetFile | null> {
    const realPath = await this.#realTarget(path);
    if (realPath === null) return null;
    const there = await stat(realPath);
    if (there.isFile() && !options.overwrite) throw targetExists(path);
    if (!there.isFile() && !there.isBlockDevice()) throw notATarget(path);
    const exclusive = there.isBlockDevice() ? constants.O_EXCL : 0;
    const flags = constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK | exclusive;
    const handle = await open(realPath, flags).catch((cause: NodeJS.ErrnoException) => {
      throw targetError(path, cause);
    });
    try {
      await this.#demandOpenedInside(path, handle, realPath);
      const stats = await handle.stat();
      const device = stats.isBlockDevice();
      // What was swapped in since the look above was opened with the wrong flags.
      if (device !== there.isBlockDevice() || (!device && !stats.isFile())) throw notATarget(path);
      return { handle, realPath, device, size: device ? await blockDeviceSize(stats, path) : stats.size };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * Where a new file at `path` would really lie: its directory is there, within a root, and has nothing of that name.
   * PermanentError `path_not_allowed`, `target_dir_missing`, `target_exists`.
   */
  async resolveTarget(path: string): Promise<string> {
    const target = await this.resolveOwnTarget(path);
    const there = await lstat(target).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    if (there !== null) throw targetExists(path);
    return target;
  }

  /** As `resolveTarget`, for an attempt that goes on and may find its own file there: does not look whether the name is taken. */
  async resolveOwnTarget(path: string): Promise<string> {
    if (!isAbsolute(path) || path.includes('\0') || path.endsWith('/') || path.endsWith('/..')) throw this.#notAllowed(path);
    const name = basename(normalize(path));
    if (name === '') throw this.#notAllowed(path);
    const parent = dirname(normalize(path));
    const realParent = await realpath(parent).catch(async (cause: NodeJS.ErrnoException) => {
      if (!(await this.#ancestorInside(parent))) throw this.#notAllowed(path);
      throw new PermanentError(
        'target_dir_missing',
        `The directory ${parent} is not there or cannot be entered; make it first.`,
        { cause },
      );
    });
    const target = join(realParent, name);
    if (!(await this.#inside(target))) throw this.#notAllowed(path);
    if (!(await stat(realParent)).isDirectory()) {
      throw new PermanentError('target_dir_missing', `${parent} is not a directory; name a directory that is there.`);
    }
    return target;
  }

  /** Bytes free where `realTarget`, as answered by resolveTarget, would lie. */
  async freeBytes(realTarget: string): Promise<number> {
    const { bavail, bsize } = await statfs(dirname(realTarget));
    return bavail * bsize;
  }

  async #realSource(path: string): Promise<string> {
    if (!isAbsolute(path) || path.includes('\0')) throw this.#notAllowed(path);
    const real = await realpath(path).catch(async (cause: NodeJS.ErrnoException) => {
      // What lies outside the roots is not told apart from what is not there.
      if (!(await this.#ancestorInside(path))) throw this.#notAllowed(path);
      throw this.#sourceError(path, cause);
    });
    if (!(await this.#inside(real))) throw this.#notAllowed(path);
    return real;
  }

  /** Null where nothing has the name: a directory that is not there either is for `resolveOwnTarget` to tell. */
  async #realTarget(path: string): Promise<string | null> {
    if (!isAbsolute(path) || path.includes('\0')) throw this.#notAllowed(path);
    const real = await realpath(path).catch(async (cause: NodeJS.ErrnoException) => {
      if (!(await this.#ancestorInside(path))) throw this.#notAllowed(path);
      if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return null;
      throw targetError(path, cause);
    });
    if (real !== null && !(await this.#inside(real))) throw this.#notAllowed(path);
    return real;
  }

  async #inside(real: string): Promise<boolean> {
    for (const root of this.#roots) {
      const realRoot = await realpath(root).catch(() => null);
      if (realRoot === null) continue;
      if (real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)) return true;
    }
    return false;
  }

  /** The nearest thing of `path` that is there lies within a root, or is one. */
  async #ancestorInside(path: string): Promise<boolean> {
    let place = normalize(path);
    while (place !== dirname(place)) {
      place = dirname(place);
      const real = await realpath(place).catch(() => null);
      if (real !== null) return this.#inside(join(real, 'x'));
    }
    return false;
  }

  async #demandOpenedInside(path: string, handle: FileHandle, realPath: string): Promise<void> {
    const opened = await readlink(`/proc/self/fd/${handle.fd}`).catch(() => null);
    if (opened !== null) {
      if (!(await this.#inside(opened))) throw this.#notAllowed(path);
      return;
    }
    const [byHandle, byPath] = [await handle.stat(), await lstat(await realpath(realPath))];
    if (byHandle.dev !== byPath.dev || byHandle.ino !== byPath.ino) throw this.#notAllowed(path);
  }

  #sourceError(path: string, cause: NodeJS.ErrnoException): PermanentError {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') {
      return new PermanentError('source_not_found', `There is no file at ${path} on this node; check the path.`, { cause });
    }
    const why = cause.code ?? cause.message;
    return new PermanentError('source_unreadable', `${path} cannot be read by the node (${why}); check its owner and mode.`, {
      cause,
    });
  }

  #notAllowed(path: string): PermanentError {
    const roots = this.#roots.length === 0 ? 'none are configured' : this.#roots.join(', ');
    return new PermanentError(
      'path_not_allowed',
      `${JSON.stringify(path)} is not an absolute path within this node's import roots (${roots}); links are followed first.`,
    );
  }
}

function targetExists(path: string): PermanentError {
  return new PermanentError(
    'target_exists',
    `${path} is there already; nothing is overwritten: name a new file, remove it first, or ask for "delta", which writes over it.`,
  );
}

function notATarget(path: string): PermanentError {
  return new PermanentError('target_not_a_file', `${path} is neither a regular file nor a block device; name another target.`);
}

function targetError(path: string, cause: NodeJS.ErrnoException): PermanentError {
  if (cause.code === 'EBUSY') {
    return new PermanentError(
      'target_busy',
      `${path} is mounted or in use, in whole or in part; nothing was written. Unmount it first.`,
      { cause },
    );
  }
  const why = cause.code ?? cause.message;
  return new PermanentError('target_unwritable', `${path} cannot be written by the node (${why}); check its owner and mode.`, {
    cause,
  });
}

/** Linux tells a device's size in sectors of 512 bytes, whatever its own sector size. */
async function blockDeviceSize(stats: Stats, path: string): Promise<number> {
  const major = ((stats.rdev >> 8) & 0xfff) | 0;
  const minor = (stats.rdev & 0xff) | ((stats.rdev >> 12) & 0xfff00);
  try {
    return Number((await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8')).trim()) * 512;
  } catch (cause) {
    throw new PermanentError('source_unreadable', `The size of the block device ${path} cannot be found out.`, { cause });
  }
}
