/** Writing to a sparse file. */
import type { FileHandle } from 'node:fs/promises';

/** Buffers and bytes of one call. */
const [MOST_PARTS, MOST_BYTES] = [64, 4 * 1024 * 1024];

const PAGE = 4096;
const ZEROS = Buffer.alloc(PAGE);

interface Run {
  offset: number;
  bytes: Buffer;
}

interface Waiting {
  runs: Run[];
  bytes: number;
  /** Runs that are not written yet. */
  left: number;
  resolve: (bytes: number) => void;
  reject: (error: unknown) => void;
}

/**
 * Writes into a file that is zero there, leaving out pages of zeros. Many small writes come at once: those that lie one after the other, of one turn
 * of the event loop, are one call.
 */
export class SparseWrites {
  readonly #handle: FileHandle;
  #waiting: Waiting[] = [];

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** Answers the bytes written, once they are. */
  write(bytes: Buffer, offset: number): Promise<number> {
    const runs = [...dataRuns(bytes)].map(({ start, end }) => ({ offset: offset + start, bytes: bytes.subarray(start, end) }));
    if (runs.length === 0) return Promise.resolve(0);
    return new Promise((resolve, reject) => {
      const sum = runs.reduce((total, run) => total + run.bytes.length, 0);
      if (this.#waiting.length === 0) setImmediate(() => this.#flush());
      this.#waiting.push({ runs, bytes: sum, left: runs.length, resolve, reject });
    });
  }

  #flush(): void {
    const owners = new Map<Run, Waiting>();
    for (const waiting of this.#waiting) for (const run of waiting.runs) owners.set(run, waiting);
    this.#waiting = [];
    for (const together of neighbours([...owners.keys()])) {
      writeAll(this.#handle, together).then(
        () => {
          for (const run of together) {
            const owner = owners.get(run)!;
            if (--owner.left === 0) owner.resolve(owner.bytes);
          }
        },
        (error: unknown) => {
          for (const run of together) owners.get(run)!.reject(error);
        },
      );
    }
  }
}

/** Runs that lie one after the other, in groups that one call takes. */
function neighbours(runs: Run[]): Run[][] {
  const groups: Run[][] = [];
  let [end, bytes] = [-1, 0];
  for (const run of runs.sort((a, b) => a.offset - b.offset)) {
    const group = groups.at(-1);
    if (group !== undefined && run.offset === end && group.length < MOST_PARTS && bytes + run.bytes.length <= MOST_BYTES) {
      group.push(run);
      bytes += run.bytes.length;
    } else {
      groups.push([run]);
      bytes = run.bytes.length;
    }
    end = run.offset + run.bytes.length;
  }
  return groups;
}

async function writeAll(handle: FileHandle, runs: readonly Run[]): Promise<void> {
  let offset = runs[0]!.offset;
  let parts = runs.map(({ bytes }) => bytes);
  while (parts.length > 0) {
    let { bytesWritten } = await handle.writev(parts, offset);
    offset += bytesWritten;
    while (parts.length > 0 && bytesWritten >= parts[0]!.length) bytesWritten -= parts.shift()!.length;
    if (parts.length > 0) parts = [parts[0]!.subarray(bytesWritten), ...parts.slice(1)];
  }
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
