/** Writes only what is not zero, in aligned pages, so that a file of holes stays one. */
import type { FileHandle } from 'node:fs/promises';
import { writeAt } from '../fs/durable.ts';

const PAGE = 4096;
const ZERO_PAGE = Buffer.alloc(PAGE);

/** Writes `bytes` at `position` (a multiple of 4 KiB, of a file that reads as zeros there); answers how many bytes it wrote. */
export async function writeSparse(handle: FileHandle, bytes: Buffer, position: number): Promise<number> {
  let written = 0;
  for (let at = 0; at < bytes.length; ) {
    const start = skipPages(bytes, at, true);
    const end = skipPages(bytes, start, false);
    await writeAt(handle, bytes.subarray(start, end), position + start);
    written += end - start;
    at = end;
  }
  return written;
}

/** The first page boundary from `at` on whose page is not all zeros (`zero` true), or is all zeros (`zero` false). */
function skipPages(bytes: Buffer, at: number, zero: boolean): number {
  let page = at;
  while (page < bytes.length && isZeroPage(bytes, page) === zero) page += PAGE;
  return Math.min(page, bytes.length);
}

function isZeroPage(bytes: Buffer, at: number): boolean {
  if (bytes[at] !== 0) return false;
  const length = Math.min(PAGE, bytes.length - at);
  return bytes.compare(ZERO_PAGE, 0, length, at, at + length) === 0;
}
