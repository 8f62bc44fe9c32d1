/** Reads a journal from its header on, through a window: one that was flushed often has very many small batches. */
import type { FileHandle } from 'node:fs/promises';
import { BATCH_HEAD_BYTES, batchBytes, checkHeader, decodeBatch, HEADER_BYTES, type MapChange } from './journal-format.ts';

const WINDOW_BYTES = 1024 * 1024;

export interface ReadJournal {
  /** Bytes up to the end of the last whole batch. */
  end: number;
  batches: number;
}

/** `apply` gets every change in order. PermanentError `damaged_overlay` for a bad header; a batch that is not whole ends the journal. */
export async function readJournal(
  handle: FileHandle,
  size: number,
  path: string,
  apply: (change: MapChange) => void,
): Promise<ReadJournal> {
  const window = new Window(handle);
  checkHeader(await window.at(0, HEADER_BYTES), size, path);
  let [end, batches] = [HEADER_BYTES, 0];
  const { size: length } = await handle.stat();
  for (;;) {
    const bytes = batchBytes(await window.at(end, BATCH_HEAD_BYTES));
    if (bytes === null || end + bytes > length) break;
    const changes = decodeBatch(await window.at(end, bytes), batches + 1);
    if (changes === null) break;
    for (const change of changes) apply(change);
    end += bytes;
    batches++;
  }
  return { end, batches };
}

class Window {
  readonly #handle: FileHandle;
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** Fewer bytes where the file ends. */
  async at(offset: number, length: number): Promise<Buffer> {
    const from = offset - this.#start;
    if (from < 0 || from + length > this.#bytes.length) {
      this.#bytes = await readUpTo(this.#handle, offset, Math.max(length, WINDOW_BYTES));
      this.#start = offset;
    }
    return this.#bytes.subarray(offset - this.#start, offset - this.#start + length);
  }
}

async function readUpTo(handle: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let got = 0;
  while (got < length) {
    const { bytesRead } = await handle.read(bytes, got, length - got, at + got);
    if (bytesRead === 0) break;
    got += bytesRead;
  }
  return bytes.subarray(0, got);
}
