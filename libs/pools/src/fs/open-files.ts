/**
 * Files that are read in pieces, again and again, stay open for a while: opening costs more than a small read. A file that was replaced or
 * removed meanwhile is noticed by its link count, and opened anew.
 */
import { constants, fstatSync, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

const MOST = 256;
const IDLE_MS = 10_000;

interface OpenFile {
  opened: Promise<FileHandle>;
  users: number;
  /** Closed once nobody uses it. */
  doomed: boolean;
}

export class OpenFiles {
  /** By path; the one used last stands last. */
  readonly #files = new Map<string, OpenFile>();
  #idle: NodeJS.Timeout | null = null;

  /** Runs `work` with the file open for reading, as it is now; positions are the caller's. Errors of the opening are the system's. */
  async use<T>(path: string, work: (handle: FileHandle, info: Stats) => Promise<T>): Promise<T> {
    const { file, info } = await this.#take(path);
    try {
      const handle = await file.opened;
      return await work(handle, info ?? fstatSync(handle.fd));
    } finally {
      file.users--;
      if (file.doomed && file.users === 0) await closeFile(file);
    }
  }

  async close(): Promise<void> {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
    await Promise.all([...this.#files].map(([path, file]) => this.#doom(path, file)));
  }

  /** `info` where it was looked at. */
  async #take(path: string): Promise<{ file: OpenFile; info: Stats | null }> {
    const known = this.#files.get(path);
    if (known !== undefined) {
      known.users++;
      const handle = await known.opened;
      const info = fstatSync(handle.fd);
      if (info.nlink > 0) {
        if (this.#files.delete(path)) this.#files.set(path, known);
        return { file: known, info };
      }
      known.users--;
      await this.#doom(path, known);
    }
    const file: OpenFile = { opened: open(path, constants.O_RDONLY), users: 1, doomed: false };
    this.#files.set(path, file);
    file.opened.catch(() => this.#files.delete(path));
    this.#idle ??= setTimeout(() => this.#closeIdle(), IDLE_MS).unref();
    const [oldest] = this.#files;
    if (this.#files.size > MOST && oldest !== undefined) await this.#doom(...oldest);
    return { file, info: null };
  }

  #closeIdle(): void {
    this.#idle = null;
    for (const [path, file] of this.#files) if (file.users === 0) void this.#doom(path, file);
    if (this.#files.size > 0) this.#idle = setTimeout(() => this.#closeIdle(), IDLE_MS).unref();
  }

  async #doom(path: string, file: OpenFile): Promise<void> {
    if (this.#files.get(path) === file) this.#files.delete(path);
    if (file.doomed) return;
    file.doomed = true;
    if (file.users === 0) await closeFile(file);
  }
}

async function closeFile({ opened }: OpenFile): Promise<void> {
  const handle = await opened.catch(() => null);
  await handle?.close();
}
