/** A block's files as they come, go and change names. All that is here may be repeated after a crash. */
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, mapped, statOrNull, syncDirectory } from '../fs/durable.ts';
import { blockFolder, committedPaths, isPart, type PartPaths, partPaths } from './paths.ts';

/** Gives the parts of the job that committed their names. False: they are nowhere, so somebody removed the block since. */
export async function placeCommitted(root: string, blockId: string, jobId: string): Promise<boolean> {
  return mapped(async () => {
    const parts = partPaths(root, blockId, jobId);
    const placed = committedPaths(root, blockId);
    const moved = [await renameOnce(parts.digests, placed.digests), await renameOnce(parts.data, placed.data)];
    if (moved.includes('gone')) return false;
    if (moved.includes('moved') || (await statOrNull(parts.durable)) !== null) {
      await rm(parts.durable, { force: true });
      await syncDirectory(blockFolder(root, blockId));
    }
    return true;
  });
}

/** Removes every part in the block's folder but those of `keepJob`. */
export async function dropParts(root: string, blockId: string, keepJob: string | null): Promise<void> {
  const folder = blockFolder(root, blockId);
  await mapped(async () => {
    const doomed = (await namesIn(folder)).filter(
      (name) => isPart(name) && !(keepJob !== null && name.startsWith(`${keepJob}.`)),
    );
    if (doomed.length === 0) return;
    for (const name of doomed) await rm(join(folder, name), { force: true });
    await syncDirectory(folder);
  });
}

/** Removes the parts of one job; the durable record goes first, since it vouches for the others. */
export async function dropPartsOf(parts: PartPaths, folder: string): Promise<void> {
  await mapped(async () => {
    if ((await statOrNull(folder)) === null) return;
    await rm(parts.durable, { force: true });
    await syncDirectory(folder);
    await rm(parts.data, { force: true });
    await rm(parts.digests, { force: true });
    await syncDirectory(folder);
  });
}

/** Removes all of the block but its ledger. */
export async function dropBlock(root: string, blockId: string): Promise<void> {
  const folder = blockFolder(root, blockId);
  const { data, digests } = committedPaths(root, blockId);
  await dropParts(root, blockId, null);
  await mapped(async () => {
    if ((await statOrNull(folder)) === null) return;
    await rm(data, { force: true });
    await rm(digests, { force: true });
    await syncDirectory(folder);
  });
}

async function renameOnce(from: string, to: string): Promise<'moved' | 'there' | 'gone'> {
  try {
    await rename(from, to);
    return 'moved';
  } catch (error) {
    if (!isMissing(error)) throw error;
    return (await statOrNull(to)) === null ? 'gone' : 'there';
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
