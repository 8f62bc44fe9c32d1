/**
 * A plain file as the target of a restore. It is written beside its final name as `<path>.openservice-<job>.part`, sparse, and
 * commit links it there: link(2) never overwrites, and is atomic. Of the crash points: before the link the part file and the
 * journalled state (its inode, and how many chunks from the start are durable) let the next run go on; after the link the
 * inode under the final name is the journalled one, and the work is done.
 *
 * A file holds no manifest, so the root digest is computed from the chunks as they pass in order. A run that resumes reads the
 * chunks of earlier runs back first: what a power cut did to them shows then.
 */
import { constants } from 'node:fs';
import { type FileHandle, link, lstat, open, readlink, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { ChunkWorkers } from '@openservice/codec';
import { asOpenServiceError, chunkCount, PermanentError } from '@openservice/domain';
import type { BlockWriter, Prepared } from '@openservice/pools';
import { SparseWrites } from './file-bytes.ts';
import { fileSource } from './file-source.ts';
import { OrderedRoot } from './ordered-root.ts';
import { plan } from './plan.ts';

/** After so many bytes the kernel is told to write them out. */
const WRITE_BACK_BYTES = 64 * 1024 * 1024;

/** Small JSON for the job's checkpoint. */
export interface FileTargetState {
  dev: string;
  ino: string;
  /** This many chunks from the start are durable. */
  chunks: number;
}

export interface FileTarget extends BlockWriter {
  /** True when an earlier run has committed: the file stands under its final name. */
  readonly committed: boolean;
  /** What to journal: once right after opening, then after each checkpoint(). */
  readonly state: FileTargetState;
}

export interface FileTargetOptions {
  /** The final name: absolute, its directory resolved and allowed. */
  path: string;
  /** Exact bytes. */
  size: number;
  chunkSize: number;
  jobId: string;
  /** What the last checkpoint of this job holds; null: begin anew. */
  resume: FileTargetState | null;
  workers: ChunkWorkers;
  signal: AbortSignal;
}

/** PermanentError `target_exists` when another file has the name; `no_space`, `permission_denied`, … */
export function openFileTarget(options: FileTargetOptions): Promise<FileTarget> {
  return mapped(async () => {
    const part = partPath(options.path, options.jobId);
    const there = await identity(options.path);
    if (there !== null) {
      if (options.resume === null || !sameFile(there, options.resume)) throw targetExists(options.path);
      await removePart(part);
      return new PartFile(options, null, there, true);
    }
    const resumed = await openResumed(part, options.resume);
    if (resumed !== null && options.resume !== null) {
      const target = new PartFile(options, resumed, options.resume, false);
      try {
        await target.readBack(options.resume.chunks, options.signal);
      } catch (error) {
        await target.close();
        throw error;
      }
      return target;
    }
    const handle = await createPart(part, options.size);
    const { dev, ino } = await handle.stat({ bigint: true });
    return new PartFile(options, handle, { dev: String(dev), ino: String(ino) }, false);
  });
}

/** Removes what a job left beside `path`; the file under its final name is never touched. May be repeated. */
export function discardFileTarget(path: string, jobId: string): Promise<void> {
  return mapped(() => removePart(partPath(path, jobId)));
}

function partPath(path: string, jobId: string): string {
  return `${path}.openservice-${jobId}.part`;
}

class PartFile implements FileTarget {
  readonly #options: FileTargetOptions;
  readonly #part: string;
  readonly #file: { dev: string; ino: string };
  readonly #root: OrderedRoot;
  #handle: FileHandle | null;
  #committed: boolean;
  #durable = 0;
  #bytesSent = 0;
  #prepared: Prepared | null = null;
  #writes: SparseWrites | null = null;
  /** Bytes since the last writing back began. */
  #gathered = 0;
  #writesBack = false;
  #writingBack: Promise<void> = Promise.resolve();
  #unwritten: unknown = null;

  constructor(options: FileTargetOptions, handle: FileHandle | null, file: { dev: string; ino: string }, committed: boolean) {
    this.#options = options;
    this.#part = partPath(options.path, options.jobId);
    this.#handle = handle;
    this.#file = { dev: file.dev, ino: file.ino };
    this.#committed = committed;
    this.#root = new OrderedRoot(options);
  }

  get committed(): boolean {
    return this.#committed;
  }

  get state(): FileTargetState {
    return { ...this.#file, chunks: this.#durable };
  }

  get bytesSent(): number {
    return this.#bytesSent;
  }

  has(index: number): boolean {
    return this.#committed || index < this.#durable;
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    return digests.map(() => true);
  }

  put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    return mapped(async () => {
      signal.throwIfAborted();
      this.#throwUnwritten();
      const written = await this.#toWrite().write(bytes, index * this.#options.chunkSize);
      // In a step of its own: `+= await` would read the sum before the wait and lose what others add meanwhile.
      this.#bytesSent += written;
      this.#root.chunk(index, digest);
      this.#writeBack(written);
    });
  }

  hole(first: number, count: number): void {
    this.#root.holes(first, count);
  }

  checkpoint(): Promise<void> {
    return mapped(async () => {
      const chunks = this.#root.next;
      await this.#open().datasync();
      await this.#writingBack;
      this.#throwUnwritten();
      this.#durable = Math.max(this.#durable, chunks);
    });
  }

  prepare(): Promise<Prepared> {
    return mapped(async () => {
      if (this.#prepared !== null) return this.#prepared;
      const handle = this.#open();
      const rootDigest = this.#root.digest();
      if (rootDigest === null) throw new Error(`chunk ${this.#root.next} was never put`);
      await this.#writingBack;
      this.#throwUnwritten();
      await handle.sync();
      this.#durable = chunkCount(this.#options.size, this.#options.chunkSize);
      this.#prepared = { rootDigest, storedBytes: (await handle.stat()).blocks * 512 };
      return this.#prepared;
    });
  }

  commit(): Promise<void> {
    return mapped(async () => {
      if (this.#committed) return;
      await this.#link();
      await syncDirectory(dirname(this.#part));
      this.#committed = true;
      await removePart(this.#part);
    });
  }

  abort(): Promise<void> {
    return mapped(() => removePart(this.#part));
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await this.#writingBack;
    await handle?.close();
  }

  /** Takes the first `chunks` chunks of the part file into the root. */
  async readBack(chunks: number, signal: AbortSignal): Promise<void> {
    const { size, chunkSize, workers } = this.#options;
    const end = Math.min(chunks, chunkCount(size, chunkSize));
    const source = await fileSource({ handle: this.#open(), path: this.#part, size, chunkSize, workers });
    const buffer = Buffer.from(new SharedArrayBuffer(chunkSize));
    for await (const step of plan(source, signal)) {
      if (this.#root.next >= end) break;
      if (step.kind === 'hole') this.#root.holes(step.first, Math.min(step.count, end - step.first));
      else this.#root.chunk(step.index, await source.readChunk(step.index, buffer, signal));
    }
    this.#durable = end;
  }

  async #link(): Promise<void> {
    try {
      await link(this.#part, this.#options.path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const there = code === 'EEXIST' ? await identity(this.#options.path) : null;
      if (there !== null && sameFile(there, this.#file)) return;
      if (code === 'EEXIST') throw targetExists(this.#options.path);
      if (code === 'EPERM' || code === 'ENOTSUP') {
        throw new PermanentError(
          'target_unsupported',
          `The filesystem of ${this.#options.path} knows no hard links, so a file cannot be put there without the risk of overwriting; restore to another filesystem.`,
          { cause: error },
        );
      }
      throw error;
    }
  }

  /** Has the kernel write out what has gathered, while more comes: else all of it would wait for the end. */
  #writeBack(written: number): void {
    this.#gathered += written;
    if (this.#gathered < WRITE_BACK_BYTES || this.#writesBack) return;
    this.#gathered = 0;
    this.#writesBack = true;
    this.#writingBack = this.#open()
      .datasync()
      .catch((error: unknown) => {
        // The kernel tells of a page that it could not write once only.
        this.#unwritten ??= error;
      })
      .finally(() => {
        this.#writesBack = false;
      });
  }

  #throwUnwritten(): void {
    if (this.#unwritten !== null) throw this.#unwritten;
  }

  #toWrite(): SparseWrites {
    this.#writes ??= new SparseWrites(this.#open());
    return this.#writes;
  }

  #open(): FileHandle {
    if (this.#handle === null) throw new Error('the file target is closed, or was committed by an earlier run');
    return this.#handle;
  }
}

async function createPart(part: string, size: number): Promise<FileHandle> {
  // Without a checkpoint that names it, a part file of this job is of a run that got nowhere.
  await removePart(part);
  const handle = await open(part, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  try {
    await demandOpenedAt(part, handle);
    await handle.truncate(size);
    await syncDirectory(dirname(part));
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openResumed(part: string, resume: FileTargetState | null): Promise<FileHandle | null> {
  if (resume === null) return null;
  const there = await identity(part);
  if (there === null || !sameFile(there, resume)) return null;
  const handle = await open(part, constants.O_RDWR | constants.O_NOFOLLOW);
  const { dev, ino } = await handle.stat({ bigint: true });
  if (sameFile({ dev: String(dev), ino: String(ino) }, resume)) return handle;
  // Another file was put there between the look and the open: nothing of it is touched.
  await handle.close();
  return null;
}

/** A link that was swapped in for a directory of the path since it was resolved must not lead the file elsewhere. */
async function demandOpenedAt(part: string, handle: FileHandle): Promise<void> {
  const opened = await readlink(`/proc/self/fd/${handle.fd}`).catch(() => null);
  if (opened === null || opened === part) return;
  await unlink(part);
  throw new PermanentError(
    'path_not_allowed',
    `The directory ${dirname(part)} became a link to another place while the restore began; nothing was written there.`,
  );
}

async function removePart(part: string): Promise<void> {
  try {
    await unlink(part);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  await syncDirectory(dirname(part));
}

async function identity(path: string): Promise<{ dev: string; ino: string } | null> {
  try {
    const { dev, ino } = await lstat(path, { bigint: true });
    return { dev: String(dev), ino: String(ino) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function sameFile(a: { dev: string; ino: string }, b: { dev: string; ino: string }): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

function targetExists(path: string): PermanentError {
  return new PermanentError(
    'target_exists',
    `${path} is there already; nothing is overwritten: name a new file, or remove it first.`,
  );
}

async function mapped<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw asOpenServiceError(error);
  }
}
