/** The files that make up an image, each opened within the import roots and watched for changes. */
import type { FileHandle } from 'node:fs/promises';
import type { ChunkWorkers } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import { type FileIdentity, type FileSource, fileSource } from '@openservice/transfer';
import type { ReadBytes } from './magic.ts';
import type { SourceDeps } from './port.ts';

export interface ImageFile {
  /** For messages. */
  readonly path: string;
  /** Where it really lies: names in it are relative to that directory. */
  readonly realPath: string;
  /** Bytes. */
  readonly size: number;
  /** How qemu is told of it: not by a name that could lead elsewhere a moment later, but as a file that is open already. */
  readonly qemuName: string;
  readonly read: ReadBytes;
}

/** Of descriptors that qemu inherits; 0 to 2 are its standard streams. */
const FIRST_FD = 3;
/** A disk in more pieces than this is a mistake, or meant to exhaust the node. */
const MOST = 256;

export class ImageFiles {
  readonly #deps: Pick<SourceDeps, 'importRoots' | 'workers'>;
  readonly #handles: FileHandle[] = [];
  readonly #watched: FileSource[] = [];

  constructor(deps: Pick<SourceDeps, 'importRoots' | 'workers'>) {
    this.#deps = deps;
  }

  /** File descriptors for the child, in the order of the names that `add` gave. */
  get fds(): number[] {
    return this.#handles.map((handle) => handle.fd);
  }

  get identity(): FileIdentity[] {
    return this.#watched.map((source) => source.identity);
  }

  /** Errors are those of ImportRoots.openSource; `why` begins their sentence: `Its backing file`. */
  async add(path: string, why?: string): Promise<ImageFile> {
    if (this.#handles.length >= MOST) {
      throw new PermanentError(
        'image_format_unsupported',
        `${path}: an image of more than ${MOST} files is not read; convert it first.`,
      );
    }
    const { handle, realPath, size } = await this.#deps.importRoots.openSource(path).catch((error: unknown) => {
      if (why === undefined || !(error instanceof PermanentError)) throw error;
      throw new PermanentError(error.code, `${why} cannot be used: ${error.message}`, { cause: error });
    });
    const qemuName = this.#inherit(handle);
    this.#watched.push(await watch(handle, path, size, this.#deps.workers));
    return { path, realPath, size, qemuName, read: (offset, length) => readExactly(handle, path, offset, length) };
  }

  /** A file of ours, which qemu reads in place of one of the image's. */
  addOwn(handle: FileHandle): string {
    return this.#inherit(handle);
  }

  /** PermanentError `source_changed`. */
  async assertUnchanged(): Promise<void> {
    for (const source of this.#watched) await source.assertUnchanged();
  }

  async close(): Promise<void> {
    for (const handle of this.#handles.splice(0)) await handle.close();
  }

  #inherit(handle: FileHandle): string {
    this.#handles.push(handle);
    return `/proc/self/fd/${FIRST_FD + this.#handles.length - 1}`;
  }
}

function watch(handle: FileHandle, path: string, size: number, workers: ChunkWorkers): Promise<FileSource> {
  return fileSource({ handle, path, size, chunkSize: 4096, workers });
}

export async function readExactly(handle: FileHandle, path: string, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let got = 0; got < length; ) {
    const { bytesRead } = await handle.read(bytes, got, length - got, offset + got);
    if (bytesRead === 0)
      throw new PermanentError('image_damaged', `${path} ends at byte ${offset + got}, in the middle of its header.`);
    got += bytesRead;
  }
  return bytes;
}
