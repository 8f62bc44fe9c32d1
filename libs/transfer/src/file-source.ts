/**
 * A file or block device as a source of chunks, for an import. A copy is of one point in time only if the file stood still: what it
 * is (device, inode, size, times) is taken at the start, kept in checkpoints, and asked again at the end. A block device has
 * no such times; who imports one sees to it that nobody writes to it.
 */
import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { ChunkWorkers } from '@openservice/codec';
import { asOpenServiceError, chunkLength, PermanentError } from '@openservice/domain';
import { type ChunkRange, type ChunkSource, fileExtents } from '@openservice/pools';

/** After one that is not in memory the next are likely not either. */
const PLAIN_READS = 32;

/** What tells one state of a file from another; JSON. Times are nanoseconds in decimal; null for a block device. */
export interface FileIdentity {
  dev: string;
  ino: string;
  size: number;
  mtime_ns: string | null;
  ctime_ns: string | null;
}

export interface FileSource extends ChunkSource {
  /** As it was when the source was made. */
  readonly identity: FileIdentity;
  /** PermanentError `source_changed` when the file's size or modification time differs from the start. */
  assertUnchanged(): Promise<void>;
}

export interface FileSourceOptions {
  /** Open for reading; the source closes it. */
  handle: FileHandle;
  /** For messages. */
  path: string;
  /** Bytes. */
  size: number;
  chunkSize: number;
  workers: ChunkWorkers;
}

export async function fileSource(options: FileSourceOptions): Promise<FileSource> {
  return new OpenFileSource(options, identityOf(await options.handle.stat({ bigint: true }), options.size));
}

/** True when both are the same file in the same state. */
export function sameIdentity(a: FileIdentity, b: FileIdentity): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtime_ns === b.mtime_ns && a.ctime_ns === b.ctime_ns;
}

class OpenFileSource implements FileSource {
  readonly size: number;
  readonly chunkSize: number;
  readonly identity: FileIdentity;
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #workers: ChunkWorkers;
  /** So many reads from now on are not tried in the kernel's memory first. */
  #plainReads = 0;

  constructor(options: FileSourceOptions, identity: FileIdentity) {
    this.size = options.size;
    this.chunkSize = options.chunkSize;
    this.identity = identity;
    this.#handle = options.handle;
    this.#path = options.path;
    this.#workers = options.workers;
  }

  async *extents(from: number, signal: AbortSignal): AsyncIterable<ChunkRange> {
    if (this.identity.mtime_ns === null) {
      const count = Math.ceil(this.size / this.chunkSize);
      if (count > from) yield { first: from, count: count - from };
      return;
    }
    let next = from;
    for await (const extent of fileExtents(this.#handle.fd, from * this.chunkSize, signal)) {
      const first = Math.max(next, Math.floor(extent.offset / this.chunkSize));
      const end = Math.ceil((extent.offset + extent.length) / this.chunkSize);
      if (end > first) yield { first, count: end - first };
      next = Math.max(next, end);
    }
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    const offset = index * this.chunkSize;
    const bytes = target.subarray(0, chunkLength(this.size, this.chunkSize, index));
    return (await this.#digestCached(offset, bytes)) ?? (await this.#digestRead(offset, bytes, signal));
  }

  async #digestCached(offset: number, bytes: Buffer): Promise<Buffer | null> {
    if (this.#plainReads > 0) {
      this.#plainReads--;
      return null;
    }
    const digest = await this.#workers.digestCached(this.#handle.fd, offset, bytes);
    if (digest === null) this.#plainReads = PLAIN_READS;
    return digest;
  }

  async #digestRead(offset: number, bytes: Buffer, signal: AbortSignal): Promise<Buffer> {
    await this.#readFully(bytes, bytes.length, offset);
    signal.throwIfAborted();
    return this.#workers.digest(bytes);
  }

  async assertUnchanged(): Promise<void> {
    const now = identityOf(await this.#handle.stat({ bigint: true }), this.size);
    if (now.size !== this.identity.size || now.mtime_ns !== this.identity.mtime_ns) throw sourceChanged(this.#path);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  async #readFully(target: Buffer, length: number, offset: number): Promise<void> {
    let got = 0;
    while (got < length) {
      const { bytesRead } = await this.#handle.read(target, got, length - got, offset + got).catch((error: unknown) => {
        throw asOpenServiceError(error);
      });
      if (bytesRead === 0) {
        throw new PermanentError(
          'source_changed',
          `${this.#path} shrank while it was read: it ends at byte ${offset + got} of ${this.size}; import it again when nobody writes to it.`,
        );
      }
      got += bytesRead;
    }
  }
}

export function sourceChanged(path: string): PermanentError {
  return new PermanentError(
    'source_changed',
    `${path} was changed while it was imported, so the copy would be of no one point in time; import it again when nobody writes to it.`,
  );
}

function identityOf(stats: BigIntStats, deviceSize: number): FileIdentity {
  const file = stats.isFile();
  return {
    dev: String(stats.dev),
    ino: String(stats.ino),
    size: file ? Number(stats.size) : deviceSize,
    mtime_ns: file ? String(stats.mtimeNs) : null,
    ctime_ns: file ? String(stats.ctimeNs) : null,
  };
}
