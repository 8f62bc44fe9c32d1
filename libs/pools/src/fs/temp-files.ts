/**
 * Temporary files of one root, all in its directory `.TMP`: upper case, so no key names them. A name says which process
 * made it; what a crash left is swept by whoever opens the root next.
 */
import { readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isCode, isMissing, statOrNull } from './durable.ts';

export const TEMP_DIRECTORY = '.TMP';
/** Only for files of other machines or boots, whose processes cannot be asked. */
const FOREIGN_AGE_MS = 24 * 3600 * 1000;

let counter = 0;
let ownToken: string | null = null;

/** The path of a file that is not there yet; `.TMP` is made where it lacks. */
export async function tempPath(root: string): Promise<string> {
  ownToken ??= `${bootId()}-${process.pid}-${startTime(readSync(`/proc/${process.pid}/stat`))}`;
  const directory = join(root, TEMP_DIRECTORY);
  await mkdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  return join(directory, `${ownToken}-${counter++}`);
}

/** Removes what dead processes left. Answers how many files went, and the bytes that they took up. */
export async function sweepTempFiles(root: string): Promise<{ files: number; bytes: number }> {
  const directory = join(root, TEMP_DIRECTORY);
  const swept = { files: 0, bytes: 0 };
  for (const name of await namesIn(directory)) {
    const path = join(directory, name);
    if (!(await isOrphan(path, name))) continue;
    const info = await statOrNull(path);
    await unlink(path).catch(ignoreMissing);
    if (info === null) continue;
    swept.files++;
    swept.bytes += info.blocks * 512;
  }
  return swept;
}

async function isOrphan(path: string, name: string): Promise<boolean> {
  const [boot, pid, started] = name.split('-');
  if (boot === bootId() && boot !== '') {
    if (name.startsWith(`${ownToken}-`)) return false;
    // Whatever else keeps it from being read, it is no proof that the process is gone.
    const now = await readFile(`/proc/${Number(pid)}/stat`, 'utf8').catch((error: unknown) => (isGone(error) ? '' : null));
    return now !== null && startTime(now) !== started;
  }
  const info = await stat(path).catch(() => null);
  return info !== null && Date.now() - info.mtimeMs > FOREIGN_AGE_MS;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return isMissing(error) || isCode(error, 'ESRCH');
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

/** Eight hex digits that this boot of this machine has alone; empty where the system does not tell. */
function bootId(): string {
  return readSync('/proc/sys/kernel/random/boot_id').slice(0, 8);
}

/** Field 22 of /proc/<pid>/stat: with the pid it names one process of this boot. */
function startTime(stat: string): string {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '0';
}

function readSync(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
