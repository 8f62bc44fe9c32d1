/**
 * Where a file holds data, by lseek(SEEK_DATA/SEEK_HOLE) of Linux' libc: no byte of data is read. Anywhere else, and on
 * filesystems that do not tell, all of the file counts as data, which is always true enough.
 */
import { fstatSync } from 'node:fs';
import { asOpenServiceError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { errnoName, libc } from './libc.ts';

export interface FileExtent {
  /** Bytes. */
  offset: number;
  /** Bytes. */
  length: number;
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const BATCH = 256;

/**
 * The data extents of the open file `fd` from byte `from` on, ascending, up to its size at the time of the call.
 * Moves the file's position: read it by position only. Errors: `io_error` and the like.
 */
export async function* fileExtents(fd: number, from: number, signal: AbortSignal): AsyncIterable<FileExtent> {
  const size = fstatSync(fd).size;
  let at = from;
  for (let found = 0; at < size; found++) {
    throwIfCancelled(signal);
    const extent = nextExtent(fd, at, size);
    if (extent === null) return;
    yield extent;
    at = extent.offset + extent.length;
    // lseek is synchronous; a file of very many extents must not keep the event loop.
    if (found % BATCH === BATCH - 1) await new Promise(setImmediate);
  }
}

/** The first extent at or after byte `at`, or null where only a hole follows. */
function nextExtent(fd: number, at: number, size: number): FileExtent | null {
  const start = seek(fd, at, SEEK_DATA);
  if (start === 'unsupported') return { offset: at, length: size - at };
  if (start === 'none' || start >= size) return null;
  const end = seek(fd, start, SEEK_HOLE);
  const stop = typeof end === 'number' ? Math.min(end, size) : size;
  return { offset: start, length: stop - start };
}

function seek(fd: number, offset: number, whence: number): number | 'none' | 'unsupported' {
  const call = libc()?.lseek;
  if (call === undefined) return 'unsupported';
  const position = Number(call(fd, offset, whence));
  if (position >= 0) return position;
  const code = errnoName();
  if (code === 'ENXIO') return 'none';
  if (code === 'EINVAL' || code === 'ENOTSUP' || code === 'EOPNOTSUPP') return 'unsupported';
  throw asOpenServiceError(Object.assign(new Error(`lseek failed: ${code}`), { code }));
}
