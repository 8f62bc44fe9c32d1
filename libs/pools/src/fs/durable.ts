/** The few steps that make names and bytes survive a power cut. Errors come as OpenServiceErrors. */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asOpenServiceError } from '@openservice/domain';

/** Runs `step`, its system errors turned into ours. */
export async function mapped<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw asOpenServiceError(error);
  }
}

export function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

export function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === code;
}

/** The names in `directory` are on stable storage once this resolves. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes `directory` and what lacks above it, durably, but never `root` itself: a disk not mounted must not be written beside. */
export async function makeDirectories(root: string, directory: string): Promise<void> {
  if (directory === root) return;
  try {
    await mkdir(directory);
  } catch (error) {
    if (isCode(error, 'EEXIST')) return;
    if (!isCode(error, 'ENOENT') || dirname(directory) === root) throw error;
    await makeDirectories(root, dirname(directory));
    await mkdir(directory).catch((again: unknown) => {
      if (!isCode(again, 'EEXIST')) throw again;
    });
  }
  await syncDirectory(dirname(directory));
}

export async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Writes all of `parts` at the handle's position. */
export async function writeAll(handle: FileHandle, parts: readonly Uint8Array[]): Promise<void> {
  for (const part of parts) {
    let at = 0;
    while (at < part.byteLength) at += (await handle.write(part, at)).bytesWritten;
  }
}

/** Writes all of `bytes` from byte `position` on; a disk that takes a part of them is asked again, and then says why. */
export async function writeAt(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let at = 0;
  while (at < bytes.byteLength) {
    at += (await handle.write(bytes, at, bytes.byteLength - at, position + at)).bytesWritten;
  }
}
