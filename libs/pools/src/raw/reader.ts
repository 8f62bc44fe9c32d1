/** Reads a committed block: the image by position, each chunk checked against its digest. Files stay open, so a removed block reads on. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type ChunkWorkers, readCached, sharedBuffer } from '@openservice/codec';
import { chunkCount, chunkLength, PermanentError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { isMissing, mapped } from '../fs/durable.ts';
import { fileExtents } from '../fs/extents.ts';
import { Gate } from '../gate.ts';
import { DIGEST_BYTES, decodeManifestHead, HOLE_DIGEST, isHole, MANIFEST_HEAD_BYTES } from '../manifest.ts';
import type { BlockReader, ChunkRange } from '../pool.ts';
import { Bitmap } from './bitmap.ts';
import type { CommittedDetail } from './claim.ts';
import { digestOffset } from './part-files.ts';

/** A multiple of DIGEST_BYTES. */
const PAGE_BYTES = 64 * 1024;
/** Chunks in a range at most: a full disk tells its first range without a look at all of its digests. */
const MAX_RANGE = 2048;
/** Chunks being checked at once for `read`, each in a buffer that is used again. */
const CHECKING = 4;

export interface RawReaderFiles {
  data: FileHandle;
  digests: FileHandle;
}

/** Null where the files are not there: removed since the ledger was read. */
export async function openRawFiles(paths: { data: string; digests: string }): Promise<RawReaderFiles | null> {
  return mapped(async () => {
    try {
      const data = await open(paths.data, constants.O_RDONLY);
      try {
        return { data, digests: await open(paths.digests, constants.O_RDONLY) };
      } catch (error) {
        await data.close();
        throw error;
      }
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  });
}

export async function closeRawFiles(files: RawReaderFiles): Promise<void> {
  await Promise.all([files.data.close(), files.digests.close()]);
}

export async function createRawReader(
  blockId: string,
  files: RawReaderFiles,
  detail: CommittedDetail,
  workers: ChunkWorkers,
): Promise<BlockReader> {
  try {
    const head = Buffer.alloc(MANIFEST_HEAD_BYTES);
    await files.digests.read(head, 0, head.length, 0);
    const { size, chunkSize } = decodeManifestHead(head);
    const actual = (await files.data.stat()).size;
    const told = (await files.digests.stat()).size;
    if (told !== digestOffset(chunkCount(size, chunkSize))) {
      // Digests that are cut off would read as holes.
      throw new PermanentError('damaged_manifest', `The digests of block ${blockId} have ${told} bytes; they are damaged.`);
    }
    if (size !== detail.size || chunkSize !== detail.chunkSize || actual !== size) {
      throw new PermanentError(
        'damaged_manifest',
        `Block ${blockId} has ${actual} bytes on disk; its ledger says ${detail.size}.`,
      );
    }
    return new RawReader(blockId, files, detail, workers);
  } catch (error) {
    await closeRawFiles(files);
    throw error;
  }
}

class RawReader implements BlockReader {
  readonly size: number;
  readonly chunkSize: number;
  readonly rootDigest: Buffer;
  readonly #blockId: string;
  readonly #files: RawReaderFiles;
  readonly #workers: ChunkWorkers;
  readonly #count: number;
  /** Chunks that were checked since the reader was opened: from then on their bytes are read as they lie. */
  readonly #checked: Bitmap;
  /** Of these, chunks that are holes. */
  readonly #holes: Bitmap;
  readonly #checks = new Map<number, Promise<void>>();
  readonly #gate = new Gate(() => CHECKING);
  readonly #spare: Buffer[] = [];
  #closed: Promise<void> | null = null;

  constructor(blockId: string, files: RawReaderFiles, detail: CommittedDetail, workers: ChunkWorkers) {
    this.#blockId = blockId;
    this.#files = files;
    this.#workers = workers;
    this.size = detail.size;
    this.chunkSize = detail.chunkSize;
    this.rootDigest = Buffer.from(detail.rootDigest, 'hex');
    this.#count = chunkCount(detail.size, detail.chunkSize);
    this.#checked = new Bitmap(this.#count);
    this.#holes = new Bitmap(this.#count);
  }

  /** By the digests alone, and of those only what is no hole in their file. */
  async *extents(from: number, signal: AbortSignal): AsyncIterable<ChunkRange> {
    let range: ChunkRange | null = null;
    let next = from;
    for await (const { offset, length } of fileExtents(this.#files.digests.fd, digestOffset(from), signal)) {
      const first = Math.max(next, Math.floor((offset - MANIFEST_HEAD_BYTES) / DIGEST_BYTES));
      const end = Math.min(this.#count, Math.ceil((offset + length - MANIFEST_HEAD_BYTES) / DIGEST_BYTES));
      next = Math.max(next, end);
      for await (const index of this.#dataChunks(first, end, signal)) {
        if (range !== null && range.count < MAX_RANGE && range.first + range.count === index) range.count++;
        else {
          if (range !== null) yield range;
          range = { first: index, count: 1 };
        }
      }
    }
    if (range !== null) yield range;
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    throwIfCancelled(signal);
    if (index < 0 || index >= this.#count) throw this.#outOfRange();
    return mapped(async () => {
      const digest = Buffer.alloc(DIGEST_BYTES);
      await this.#fill(this.#files.digests, digest, digestOffset(index));
      const chunk = target.subarray(0, chunkLength(this.size, this.chunkSize, index));
      if (isHole(digest)) {
        chunk.fill(0);
        this.#holes.set(index);
        this.#checked.set(index);
        return HOLE_DIGEST;
      }
      await this.#fill(this.#files.data, chunk, index * this.chunkSize);
      throwIfCancelled(signal);
      if (!(await this.#workers.digest(chunk)).equals(digest)) {
        throw new PermanentError(
          'damaged_chunk',
          `Chunk ${index} of block ${this.#blockId} is damaged: its bytes do not match its digest.`,
        );
      }
      this.#checked.set(index);
      return digest;
    });
  }

  readNow(offset: number, target: Buffer): boolean {
    const first = Math.floor(offset / this.chunkSize);
    const last = Math.floor((offset + target.length - 1) / this.chunkSize);
    for (let index = first; index <= last; index++) if (!this.#checked.has(index)) return false;
    if (this.#closed !== null) return false;
    if (first === last) return this.#readPartNow(first, offset, target);
    return this.#parts(offset, target).every(({ index, at, part }) => this.#readPartNow(index, at, part));
  }

  async knownDigest(index: number, signal: AbortSignal): Promise<Buffer> {
    throwIfCancelled(signal);
    if (index < 0 || index >= this.#count) throw this.#outOfRange();
    const digest = Buffer.alloc(DIGEST_BYTES);
    await mapped(() => this.#fill(this.#files.digests, digest, digestOffset(index)));
    return digest;
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (offset < 0 || length < 0 || offset + length > this.size) throw this.#outOfRange();
    const bytes = Buffer.allocUnsafe(length);
    await this.readInto(offset, bytes, signal);
    return bytes;
  }

  async readInto(offset: number, target: Buffer, signal: AbortSignal): Promise<void> {
    for (const { index, at, part } of this.#parts(offset, target)) {
      throwIfCancelled(signal);
      if (!this.#checked.has(index)) await this.#check(index);
      if (this.#holes.has(index)) part.fill(0);
      else await mapped(() => this.#fill(this.#files.data, part, at));
    }
  }

  close(): Promise<void> {
    this.#closed ??= mapped(async () => {
      this.#spare.length = 0;
      await closeRawFiles(this.#files);
    });
    return this.#closed;
  }

  async *#dataChunks(first: number, end: number, signal: AbortSignal): AsyncIterable<number> {
    const page = Buffer.alloc(PAGE_BYTES);
    for (let at = first; at < end; at += PAGE_BYTES / DIGEST_BYTES) {
      throwIfCancelled(signal);
      const digests = page.subarray(0, Math.min(PAGE_BYTES, (end - at) * DIGEST_BYTES));
      await mapped(() => this.#fill(this.#files.digests, digests, digestOffset(at)));
      for (let i = 0; i < digests.length; i += DIGEST_BYTES) {
        if (!isHole(digests.subarray(i, i + DIGEST_BYTES))) yield at + i / DIGEST_BYTES;
      }
    }
  }

  /** `target`, chunk by chunk. */
  #parts(offset: number, target: Buffer): { index: number; at: number; part: Buffer }[] {
    const parts: { index: number; at: number; part: Buffer }[] = [];
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const index = Math.floor(at / this.chunkSize);
      const part = target.subarray(done, Math.min(target.length, done + (index + 1) * this.chunkSize - at));
      parts.push({ index, at, part });
      done += part.length;
    }
    return parts;
  }

  #readPartNow(index: number, at: number, part: Buffer): boolean {
    if (!this.#holes.has(index)) return readCached(this.#files.data.fd, part, at);
    part.fill(0);
    return true;
  }

  /** Calls at once for the same chunk share one. Others may wait for it: one caller's signal does not stop it. */
  #check(index: number): Promise<void> {
    const known = this.#checks.get(index);
    if (known !== undefined) return known;
    const check = this.#checkOnce(index).finally(() => this.#checks.delete(index));
    this.#checks.set(index, check);
    return check;
  }

  async #checkOnce(index: number): Promise<void> {
    await this.#gate.enter(1);
    const buffer = this.#spare.pop() ?? sharedBuffer(this.chunkSize);
    try {
      await this.readChunk(index, buffer, new AbortController().signal);
    } finally {
      this.#gate.leave(1);
      if (this.#closed === null) this.#spare.push(buffer);
    }
  }

  async #fill(handle: FileHandle, target: Buffer, position: number): Promise<void> {
    let at = 0;
    while (at < target.length) {
      const { bytesRead } = await handle.read(target, at, target.length - at, position + at);
      if (bytesRead === 0) throw new PermanentError('damaged_chunk', `A file of block ${this.#blockId} was cut short.`);
      at += bytesRead;
    }
  }

  #outOfRange(): PermanentError {
    return new PermanentError('out_of_range', `Block ${this.#blockId} has ${this.size} bytes; the read goes past them.`);
  }
}
