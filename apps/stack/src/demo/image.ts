/**
 * A real disk: an ext4 filesystem (`mke2fs -d`, no root needed) full of files of this machine, in a sparse file.
 *
 * Large files are taken first: mke2fs writes a few hundred MB/s of them, and only tens of MB/s of small ones.
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, copyFile, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PermanentError } from '@openservice/domain';
import { collectFiles } from './real-files.ts';

const run = promisify(execFile);
const MKE2FS_TIMEOUT_MS = 300_000;

export interface ImageOptions {
  /** The image; made under a temporary name and renamed when it is whole. */
  path: string;
  /** Bytes of the disk. */
  size: number;
  /** Bytes of files to put on it, about. */
  fileBytes: number;
  /** Directories whose files are copied, in order of preference. */
  sources: readonly string[];
  /** Bytes written and to be written: each is written twice, to a tree of files and from there to the disk. */
  onProgress?: (done: number, total: number) => void;
  signal: AbortSignal;
}

export interface Image {
  path: string;
  size: number;
  /** Bytes that the file takes up on this disk: the rest of `size` is holes. */
  dataBytes: number;
  files: number;
}

/** PermanentError `no_mke2fs`, `no_files` (too few files on this machine), `mke2fs_failed`. */
export async function makeImage(options: ImageOptions): Promise<Image> {
  const mke2fs = await findMke2fs();
  const tree = `${options.path}.files`;
  const unfinished = `${options.path}.unfinished`;
  await mkdir(dirname(options.path), { recursive: true });
  await rm(tree, { recursive: true, force: true });
  await mkdir(tree);
  try {
    const files = await copyFiles(tree, options);
    const file = await open(unfinished, 'w');
    try {
      await file.truncate(options.size);
    } finally {
      await file.close();
    }
    await fillImage(mke2fs, tree, unfinished, options);
    await rename(unfinished, options.path);
    return { ...(await describeImage(options.path)), files };
  } finally {
    await rm(tree, { recursive: true, force: true });
    await rm(unfinished, { force: true });
  }
}

/** Sizes of an image that is there already. */
export async function describeImage(path: string): Promise<Omit<Image, 'files'>> {
  const info = await stat(path);
  return { path, size: info.size, dataBytes: info.blocks * 512 };
}

async function copyFiles(tree: string, options: ImageOptions): Promise<number> {
  let count = 0;
  let bytes = 0;
  for await (const file of collectFiles(options.sources, options.fileBytes)) {
    options.signal.throwIfAborted();
    const directory = join(tree, String(Math.floor(count / 500)));
    if (count % 500 === 0) await mkdir(directory);
    await copyFile(file.path, join(directory, `${count}-${file.name}`), constants.COPYFILE_FICLONE);
    count++;
    bytes += file.size;
    options.onProgress?.(bytes, 2 * options.fileBytes);
  }
  if (bytes < options.fileBytes / 4) {
    throw new PermanentError(
      'no_files',
      `Only ${bytes} bytes of files were found under ${options.sources.join(', ')}, too few for a disk image; name a smaller --size.`,
    );
  }
  return count;
}

async function fillImage(mke2fs: string, tree: string, image: string, options: ImageOptions): Promise<void> {
  // mke2fs says nothing while it works; the blocks that the file has taken up do.
  const watch = setInterval(() => {
    void stat(image).then(
      (info) => options.onProgress?.(options.fileBytes + Math.min(info.blocks * 512, options.fileBytes), 2 * options.fileBytes),
      () => undefined,
    );
  }, 250);
  try {
    await run(mke2fs, ['-q', '-F', '-t', 'ext4', '-L', 'openservice', '-J', 'size=16', '-d', tree, image], {
      signal: options.signal,
      timeout: MKE2FS_TIMEOUT_MS,
    });
  } catch (error) {
    options.signal.throwIfAborted();
    const failed = error as Error & { stderr?: string };
    const why = (failed.stderr ?? '').trim().split('\n').at(-1) || failed.message;
    throw new PermanentError('mke2fs_failed', `mke2fs could not make the disk image ${options.path}: ${why}`);
  } finally {
    clearInterval(watch);
  }
}

/** It stands in sbin, which is not on every user's PATH. */
async function findMke2fs(): Promise<string> {
  const places = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/local/sbin'];
  for (const place of places) {
    const path = join(place || '.', 'mke2fs');
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  throw new PermanentError('no_mke2fs', 'mke2fs is not on this machine; install the package e2fsprogs and run this again.');
}
