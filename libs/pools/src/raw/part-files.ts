/**
 * The three open files of a block that is being written. Order of what becomes durable: bytes and digests, then the bit.
 * Whatever lies in the files without its bit is wiped at open, so that a hole is a hole and a chunk has nothing of an old try.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { chunkCount, chunkLength, PermanentError } from '@openservice/domain';
import { isCode, isMissing, syncDirectory, writeAt } from '../fs/durable.ts';
import { fileExtents } from '../fs/extents.ts';
import { punchHole } from '../fs/punch.ts';
import { DIGEST_BYTES, encodeManifestHead, HOLE_DIGEST, MANIFEST_HEAD_BYTES, type ManifestHead } from '../manifest.ts';
import { Bitmap } from './bitmap.ts';
import { dropPartsOf } from './block-files.ts';
import type { PartPaths } from './paths.ts';

const DURABLE_HEAD_BYTES = 4096;
const PAGE = 4096;
const MAGIC = Buffer.from('OSRAWPT1', 'latin1');

export interface PartFiles {
  data: FileHandle;
  digests: FileHandle;
  durable: FileHandle;
  /** What was durable at open. */
  bits: Bitmap;
}

/** Under the folder's lock: opens what an earlier attempt left when it is of the same shape, else begins anew. */
export async function openPartFiles(
  folder: string,
  paths: PartPaths,
  head: ManifestHead,
  signal: AbortSignal,
): Promise<PartFiles> {
  const left = await reopen(paths, head);
  if (left !== null) {
    try {
      await wipeUnaccounted(left, head, signal);
      return left;
    } catch (error) {
      await closePartFiles(left);
      throw error;
    }
  }
  await dropPartsOf(paths, folder);
  return begin(paths, folder, head);
}

export async function closePartFiles(files: PartFiles): Promise<void> {
  await Promise.all([files.data.close(), files.digests.close(), files.durable.close()]);
}

/** Writes the pages of `bits` that hold the chunk ranges, and syncs them. */
export async function saveBits(files: PartFiles, bits: Bitmap, pages: Iterable<number>): Promise<void> {
  for (const page of pages) {
    await writeAt(files.durable, bits.bytes.subarray(page * PAGE, (page + 1) * PAGE), DURABLE_HEAD_BYTES + page * PAGE);
  }
  await files.durable.datasync();
}

/** The page of the durable record that holds the bit of chunk `index`. */
export function pageOf(index: number): number {
  return Math.floor(index / (PAGE * 8));
}

export function digestOffset(index: number): number {
  return MANIFEST_HEAD_BYTES + index * DIGEST_BYTES;
}

async function reopen(paths: PartPaths, head: ManifestHead): Promise<PartFiles | null> {
  const opened: FileHandle[] = [];
  try {
    for (const path of [paths.durable, paths.data, paths.digests]) opened.push(await open(path, constants.O_RDWR));
    const [durable, data, digests] = opened as [FileHandle, FileHandle, FileHandle];
    const bits = new Bitmap(chunkCount(head.size, head.chunkSize));
    const found = Buffer.alloc(DURABLE_HEAD_BYTES);
    await durable.read(found, 0, found.length, 0);
    if (found.equals(durableHead(head)) && (await data.stat()).size === head.size) {
      await readAll(durable, bits.bytes, DURABLE_HEAD_BYTES);
      return { data, digests, durable, bits };
    }
  } catch (error) {
    if (!isMissing(error)) {
      for (const handle of opened) await handle.close();
      throw error;
    }
  }
  for (const handle of opened) await handle.close();
  return null;
}

async function begin(paths: PartPaths, folder: string, head: ManifestHead): Promise<PartFiles> {
  const count = chunkCount(head.size, head.chunkSize);
  const opened: FileHandle[] = [];
  const make = async (path: string): Promise<FileHandle> => {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600);
    opened.push(handle);
    return handle;
  };
  try {
    const data = await make(paths.data);
    await data.truncate(head.size);
    const digests = await make(paths.digests);
    await digests.truncate(digestOffset(count));
    const manifestHead = encodeManifestHead(head);
    await writeAt(digests, manifestHead, 0);
    await Promise.all([data.sync(), digests.sync()]);
    const durable = await make(paths.durable);
    const bits = new Bitmap(count);
    await beginRecord(durable, head, bits);
    await syncDirectory(folder);
    return { data, digests, durable, bits };
  } catch (error) {
    for (const handle of opened) await handle.close();
    if (!isCode(error, 'EFBIG')) throw error;
    const message = `The filesystem of ${folder} cannot hold a file of ${head.size} bytes; use another pool or filesystem.`;
    throw new PermanentError('file_too_large', message, { cause: error });
  }
}

/** The record counts once this resolves: a crash before leaves no head, and the next open begins anew. `bits`: what is durable. */
export async function beginRecord(durable: FileHandle, head: ManifestHead, bits: Bitmap): Promise<void> {
  await durable.truncate(DURABLE_HEAD_BYTES + bits.bytes.length);
  if (bits.firstClear() > 0) {
    await writeAt(durable, bits.bytes, DURABLE_HEAD_BYTES);
    await durable.sync();
  }
  await writeAt(durable, durableHead(head), 0);
  await durable.sync();
}

/** Wipes the bytes and digests of chunks whose bit is not set. */
async function wipeUnaccounted(files: PartFiles, head: ManifestHead, signal: AbortSignal): Promise<void> {
  for await (const { offset, length } of fileExtents(files.data.fd, 0, signal)) {
    const last = Math.floor((offset + length - 1) / head.chunkSize);
    for (let index = Math.floor(offset / head.chunkSize); index <= last; index++) {
      if (files.bits.has(index)) continue;
      await punchHole(files.data, index * head.chunkSize, chunkLength(head.size, head.chunkSize, index));
    }
  }
  for await (const { offset, length } of fileExtents(files.digests.fd, 0, signal)) {
    const last = Math.min(files.bits.length - 1, Math.ceil((offset + length - MANIFEST_HEAD_BYTES) / DIGEST_BYTES) - 1);
    for (let index = Math.max(0, Math.floor((offset - MANIFEST_HEAD_BYTES) / DIGEST_BYTES)); index <= last; index++) {
      if (!files.bits.has(index)) await writeAt(files.digests, HOLE_DIGEST, digestOffset(index));
    }
  }
}

function durableHead(head: ManifestHead): Buffer {
  const bytes = Buffer.alloc(DURABLE_HEAD_BYTES);
  MAGIC.copy(bytes);
  encodeManifestHead(head).copy(bytes, MAGIC.length);
  return bytes;
}

async function readAll(handle: FileHandle, target: Buffer, position: number): Promise<void> {
  let at = 0;
  while (at < target.length) {
    const { bytesRead } = await handle.read(target, at, target.length - at, position + at);
    // Cut by a crash: what is not there was not durable.
    if (bytesRead === 0) return;
    at += bytesRead;
  }
}
