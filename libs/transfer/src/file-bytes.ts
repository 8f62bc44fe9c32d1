/** Writing to a sparse file. */
import type { FileHandle } from 'node:fs/promises';

const PAGE = 4096;
const ZEROS = Buffer.alloc(PAGE);

/** Writes `bytes` at `offset` of a file that is zero there, leaving out pages of zeros. Answers the bytes written. */
export async function writeSparse(handle: FileHandle, bytes: Buffer, offset: number): Promise<number> {
  let written = 0;
  for (const run of dataRuns(bytes)) {
    for (let at = run.start; at < run.end; ) {
      const { bytesWritten } = await handle.write(bytes, at, run.end - at, offset + at);
      at += bytesWritten;
      written += bytesWritten;
    }
  }
  return written;
}

function* dataRuns(bytes: Buffer): Generator<{ start: number; end: number }> {
  let start = -1;
  for (let at = 0; at < bytes.length; at += PAGE) {
    const page = bytes.subarray(at, at + PAGE);
    const zero = page.equals(page.length === PAGE ? ZEROS : ZEROS.subarray(0, page.length));
    if (!zero && start < 0) start = at;
    if (zero && start >= 0) {
      yield { start, end: at };
      start = -1;
    }
  }
  if (start >= 0) yield { start, end: bytes.length };
}
