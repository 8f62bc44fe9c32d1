/** The file of the map's journal. Calls come one after the other: the overlay sees to it. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asOpenServiceError } from '@openservice/domain';
import {
  BATCH_HEAD_BYTES,
  batchBytes,
  checkHeader,
  decodeBatch,
  encodeBatch,
  encodeHeader,
  HEADER_BYTES,
  type MapChange,
} from './journal-format.ts';

/** Records in one batch of a journal that is written anew. */
const BATCH_RECORDS = 65_536;

export class MapJournal {
  readonly #path: string;
  readonly #size: number;
  #handle: FileHandle;
  #end: number;
  #batches: number;

  private constructor(path: string, size: number, handle: FileHandle, end: number, batches: number) {
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

  /** Made where it is not there; else `apply` gets every change in order. What a crash tore off at its end is cut away. */
  static async open(path: string, size: number, apply: (change: MapChange) => void): Promise<MapJournal> {
    await rm(`${path}.new`, { force: true });
    const there = await open(path, constants.O_RDWR).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw asOpenServiceError(error);
    });
    if (there === null) return MapJournal.#write(path, size, []);
    try {
      const header = Buffer.alloc(HEADER_BYTES);
      const { bytesRead } = await there.read(header, 0, HEADER_BYTES, 0);
      checkHeader(header.subarray(0, bytesRead), size, path);
      let [end, batches] = [HEADER_BYTES, 0];
      for (;;) {
        const batch = await readBatch(there, end, batches + 1);
        if (batch === null) break;
        for (const change of batch.changes) apply(change);
        end += batch.bytes;
        batches++;
      }
      await there.truncate(end);
      return new MapJournal(path, size, there, end, batches);
    } catch (error) {
      await there.close();
      throw asOpenServiceError(error);
    }
  }

  /** Durable once it resolves. After an error nothing of it stands. */
  async append(changes: readonly MapChange[]): Promise<void> {
    const bytes = encodeBatch(this.#batches + 1, changes);
    try {
      await writeFully(this.#handle, bytes, this.#end);
      await this.#handle.datasync();
    } catch (error) {
      await this.#handle.truncate(this.#end).catch(() => undefined);
      throw asOpenServiceError(error);
    }
    this.#end += bytes.length;
    this.#batches++;
  }

  /** The journal becomes one that holds just these changes, all at once. */
  async rewrite(changes: Iterable<MapChange>): Promise<void> {
    const fresh = await MapJournal.#write(this.#path, this.#size, changes);
    await this.#handle.close();
    this.#handle = fresh.#handle;
    this.#end = fresh.#end;
    this.#batches = fresh.#batches;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  static async #write(path: string, size: number, changes: Iterable<MapChange>): Promise<MapJournal> {
    const handle = await open(`${path}.new`, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600).catch((error) => {
      throw asOpenServiceError(error);
    });
    try {
      let end = 0;
      let batches = 0;
      let some: MapChange[] = [];
      const put = async (bytes: Buffer): Promise<void> => {
        await writeFully(handle, bytes, end);
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
      await rename(`${path}.new`, path);
      await syncDirectory(dirname(path));
      return new MapJournal(path, size, handle, end, batches);
    } catch (error) {
      await handle.close();
      await rm(`${path}.new`, { force: true });
      throw asOpenServiceError(error);
    }
  }
}

async function readBatch(
  handle: FileHandle,
  at: number,
  number: number,
): Promise<{ changes: MapChange[]; bytes: number } | null> {
  const length = batchBytes(await readUpTo(handle, at, BATCH_HEAD_BYTES));
  if (length === null || at + length > (await handle.stat()).size) return null;
  const changes = decodeBatch(await readUpTo(handle, at, length), number);
  return changes === null ? null : { changes, bytes: length };
}

async function readUpTo(handle: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let got = 0;
  while (got < length) {
    const { bytesRead } = await handle.read(bytes, got, length - got, at + got);
    if (bytesRead === 0) break;
    got += bytesRead;
  }
  return bytes.subarray(0, got);
}

async function writeFully(handle: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
