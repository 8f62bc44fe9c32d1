import { type Dirent, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Every file below `dir`, relative to it; directories that hold nothing end with "/". */
export function filesBelow(dir: string): string[] {
  const found: string[] = [];
  const walk = (at: string): void => {
    let entries: Dirent[];
    try {
      entries = readdirSync(at, { withFileTypes: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    if (entries.length === 0 && at !== dir) found.push(`${relative(dir, at)}/`);
    for (const entry of entries) {
      const path = join(at, entry.name);
      if (entry.isDirectory()) walk(path);
      else found.push(relative(dir, path));
    }
  };
  walk(dir);
  return found.sort();
}
