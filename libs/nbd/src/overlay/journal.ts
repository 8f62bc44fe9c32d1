/** The file of the map's journal. Calls come one after the other: the overlay sees to it. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asOpenServiceError } from '@openservice/domain';
import { syncDirectory } from './directory.ts';
import { encodeBatch, encodeHeader, type MapChange } from './journal-format.ts';
import { readJournal } from './journal-reader.ts';

/** Records in one batch of a journal that is written anew. */
const BATCH_RECORDS = 65_536;

interface Written {
  handle: FileHandle;
  end: number;
  batches: number;
}

export class MapJournal {
  readonly #path: string;
  readonly #size: number;
  #handle: FileHandle;
  #end: number;
  #batches: number;
  /** Why nobody knows any more which file a power cut would leave under the journal's name. */
  #lost: unknown = null;

  private constructor(path: string, size: number, { handle, end, batches }: Written) {
    this.#path = path;
    this.#size = size;
    this.#handle = handle;
    this.#end = end;
    this.#batches = batches;
  }

  /** Bytes. */
  get length(): number {
    return this.#end;
  }

  /** Nothing can be appended any more: the disk must be opened anew. */
  get lost(): boolean {
    return this.#lost !== null;
  }

  /** Made where it is not there; else `apply` gets every change in order. What a crash tore off at its end is cut away. */
  static async open(path: string, size: number, apply: (change: MapChange) => void): Promise<MapJournal> {
    let there: FileHandle | null = null;
    try {
      await rm(`${path}.new`, { force: true });
      there = await open(path, constants.O_RDWR).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      });
      if (there === null) {
        const written = await writeNew(path, size, []);
        there = written.handle;
        await putInPlace(path);
        return new MapJournal(path, size, written);
      }
      const read = await readJournal(there, size, path, apply);
      await there.truncate(read.end);
      return new MapJournal(path, size, { handle: there, ...read });
    } catch (error) {
      await there?.close();
      throw asOpenServiceError(error);
    }
  }

  /** Durable once it resolves. After an error nothing of it counts. */
  async append(changes: readonly MapChange[]): Promise<void> {
    if (this.#lost !== null) throw asOpenServiceError(this.#lost);
    const bytes = encodeBatch(this.#batches + 1, changes);
    try {
      await writeFully(this.#handle, bytes, this.#end);
      await this.#handle.datasync();
    } catch (error) {
      // What is left of it is written over by the next, or cut away by the next open, or, where it is whole, true: its bytes are synced.
      await this.#handle.truncate(this.#end).catch(() => undefined);
      throw asOpenServiceError(error);
    }
    this.#end += bytes.length;
    this.#batches++;
  }

  /** The journal becomes one that holds just these changes, all at once. After an error it is the one before, unless it is `lost`. */
  async rewrite(changes: Iterable<MapChange>): Promise<void> {
    if (this.#lost !== null) throw asOpenServiceError(this.#lost);
    const fresh = await writeNew(this.#path, this.#size, changes);
    try {
      await rename(`${this.#path}.new`, this.#path);
    } catch (error) {
      await fresh.handle.close();
      throw asOpenServiceError(error);
    }
    const old = this.#handle;
    this.#handle = fresh.handle;
    this.#end = fresh.end;
    this.#batches = fresh.batches;
    try {
      await old.close();
      await syncDirectory(dirname(this.#path));
    } catch (error) {
      this.#lost = error;
      throw asOpenServiceError(error);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** A journal of these changes, synced, beside the one that is in use. */
async function writeNew(path: string, size: number, changes: Iterable<MapChange>): Promise<Written> {
  let handle: FileHandle | null = null;
  try {
    handle = await open(`${path}.new`, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600);
    let [end, batches] = [0, 0];
    let some: MapChange[] = [];
    const put = async (bytes: Buffer): Promise<void> => {
      await writeFully(handle!, bytes, end);
      end += bytes.length;
    };
    await put(encodeHeader(size));
    for (const change of changes) {
      if (some.push(change) < BATCH_RECORDS) continue;
      await put(encodeBatch(++batches, some));
      some = [];
    }
    if (some.length > 0) await put(encodeBatch(++batches, some));
    await handle.sync();
    return { handle, end, batches };
  } catch (error) {
    await handle?.close();
    await rm(`${path}.new`, { force: true });
    throw asOpenServiceError(error);
  }
}

async function putInPlace(path: string): Promise<void> {
  await rename(`${path}.new`, path);
  await syncDirectory(dirname(path));
}

async function writeFully(handle: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
}
