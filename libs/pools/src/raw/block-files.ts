/**
 * A block's files as they come, go and change names. Each step holds the block's folder (`../fs/folder-lock.ts`) and looks at the ledger under
 * it: so whoever slept, in this process or another, neither deletes nor places what has become somebody else's. All may be repeated after a crash.
 */
import type { Stats } from 'node:fs';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, mapped, statOrNull, syncDirectory } from '../fs/durable.ts';
import { inFolder } from '../fs/folder-lock.ts';
import type { Ledger, LedgerEntry } from '../ledger.ts';
import { blockFolder, committedPaths, isCommittedName, isPart, type PartPaths, partNames, partPaths } from './paths.ts';

export interface BlockPlace {
  /** The pool's directory. */
  root: string;
  blockId: string;
  ledger: Ledger;
}

export interface Swept {
  removed: number;
  /** Bytes that the removed files took up. */
  freedBytes: number;
  /** Bytes that the files take up which stay. */
  liveBytes: number;
}

/** Gives the parts of the job that committed their names. False: they are nowhere, so somebody removed the block since. */
export async function placeCommitted(at: BlockPlace, jobId: string, signal: AbortSignal): Promise<boolean> {
  const parts = partPaths(at.root, at.blockId, jobId);
  const placed = committedPaths(at.root, at.blockId);
  return mapped(async () => {
    const waiting = await anyThere([parts.data, parts.digests, parts.durable]);
    if (!waiting) return (await statOrNull(placed.data)) !== null && (await statOrNull(placed.digests)) !== null;
    return inFolder(blockFolder(at.root, at.blockId), signal, async () => {
      const { entry } = await at.ledger.head(signal);
      return isKept(entry) && entry.jobId === jobId && (await place(at, parts));
    });
  });
}

/** Removes all of the block but its ledger, when its ledger says so. */
export async function dropRemoved(at: BlockPlace, signal: AbortSignal): Promise<void> {
  const folder = blockFolder(at.root, at.blockId);
  await mapped(async () => {
    if ((await statOrNull(folder)) === null) return;
    await inFolder(folder, signal, async () => {
      const { entry } = await at.ledger.head(signal);
      if (entry?.state === 'removed') await sweep(folder, () => false);
    });
  });
}

/** Under the folder's lock, for the job that owns the block now: removes all but the parts of `jobId`; null: those too. */
export async function dropAllBut(at: BlockPlace, jobId: string | null): Promise<void> {
  const own = jobId === null ? [] : partNames(jobId);
  await sweep(blockFolder(at.root, at.blockId), (name) => own.includes(name));
}

/** Removes what the ledger says is nobody's; places what is committed. A block without any ledger loses only its parts. */
export async function sweepBlock(at: BlockPlace, signal: AbortSignal): Promise<Swept & { orphan: boolean }> {
  const folder = blockFolder(at.root, at.blockId);
  return mapped(() =>
    inFolder(folder, signal, async () => {
      const { entry } = await at.ledger.head(signal);
      const own = entry === null || entry.state === 'removed' ? [] : partNames(entry.jobId);
      const placed = isKept(entry) || entry === null;
      const swept = await sweep(folder, (name) =>
        isCommittedName(name) ? placed : own.includes(name) && !(placed && isDurable(name)),
      );
      if (isKept(entry)) await place(at, partPaths(at.root, at.blockId, entry.jobId));
      return { ...swept, orphan: entry === null && swept.liveBytes > 0 };
    }),
  );
}

/** Removes the parts of one job; the durable record goes first, since it vouches for the others. */
export async function dropPartsOf(parts: PartPaths, folder: string): Promise<void> {
  await rm(parts.durable, { force: true });
  await syncDirectory(folder);
  await rm(parts.data, { force: true });
  await rm(parts.digests, { force: true });
  await syncDirectory(folder);
}

/** Committed, visible or in the trash. */
function isKept(entry: LedgerEntry | null): entry is LedgerEntry {
  return entry?.state === 'committed' || entry?.state === 'trashed';
}

async function place({ root, blockId }: BlockPlace, parts: PartPaths): Promise<boolean> {
  const placed = committedPaths(root, blockId);
  const moved = [await renameOnce(parts.digests, placed.digests), await renameOnce(parts.data, placed.data)];
  if (moved.includes('gone')) return false;
  if (moved.includes('moved') || (await statOrNull(parts.durable)) !== null) {
    await rm(parts.durable, { force: true });
    await syncDirectory(blockFolder(root, blockId));
  }
  return true;
}

/** Removes the block's files of which `kept` says no; names that are not of this layout are left alone. Durable records go first. */
async function sweep(folder: string, kept: (name: string) => boolean): Promise<Swept> {
  const swept: Swept = { removed: 0, freedBytes: 0, liveBytes: 0 };
  const names = (await readdir(folder)).filter((name) => isPart(name) || isCommittedName(name));
  for (const name of names.sort(durableFirst)) {
    const path = join(folder, name);
    const taken = bytesOf(await statOrNull(path));
    if (kept(name)) swept.liveBytes += taken;
    else {
      await rm(path, { force: true });
      swept.removed++;
      swept.freedBytes += taken;
      if (isDurable(name)) await syncDirectory(folder);
    }
  }
  if (swept.removed > 0) await syncDirectory(folder);
  return swept;
}

function isDurable(name: string): boolean {
  return name.endsWith('.durable.part');
}

function durableFirst(a: string, b: string): number {
  return Number(isDurable(b)) - Number(isDurable(a));
}

function bytesOf(info: Stats | null): number {
  return info === null ? 0 : info.blocks * 512;
}

async function anyThere(paths: readonly string[]): Promise<boolean> {
  for (const path of paths) if ((await statOrNull(path)) !== null) return true;
  return false;
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
