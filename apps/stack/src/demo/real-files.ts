/** Which files of this machine go on a disk image: the larger ones first, until there are enough bytes. */
import { constants, type Dirent } from 'node:fs';
import { access, lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

export interface RealFile {
  path: string;
  name: string;
  size: number;
}

/** Files of at least this size come in the first round, of at least the next one in the second, … */
const ROUNDS = [256 * 1024, 32 * 1024, 1];
/** One giant file would make the disk all alike. */
const LARGEST = 160 * 1024 * 1024;

/** Regular, readable files under `roots`, no symlinks followed, no file twice, about `bytes` in all (or all there are). */
export async function* collectFiles(roots: readonly string[], bytes: number): AsyncGenerator<RealFile> {
  const seen = new Set<string>();
  let taken = 0;
  let upper = LARGEST;
  for (const lower of ROUNDS) {
    for (const root of roots) {
      for await (const file of filesUnder(root, lower, upper, seen)) {
        if (taken >= bytes) return;
        if (taken + file.size > bytes * 1.02) continue;
        taken += file.size;
        yield file;
      }
    }
    upper = lower;
  }
}

async function* filesUnder(root: string, atLeast: number, below: number, seen: Set<string>): AsyncGenerator<RealFile> {
  const pending = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const entry of await entriesOf(directory)) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        // The product's own data would change while it is copied.
        if (entry.name !== '.openservice') pending.push(path);
      } else if (entry.isFile()) {
        const info = await lstat(path).catch(() => null);
        if (info === null || info.size < atLeast || info.size >= below) continue;
        const inode = `${info.dev}:${info.ino}`;
        if (seen.has(inode) || !(await readable(path))) continue;
        seen.add(inode);
        yield { path, name: entry.name.slice(-80), size: info.size };
      }
    }
  }
}

/** Directories that may not be read, or went away, hold nothing for us. */
async function entriesOf(directory: string): Promise<Dirent[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function readable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}
