import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where Debian puts servers that an ordinary user's PATH leaves out. */
const SERVER_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/sbin', '/usr/libexec', '/usr/local/bin', '/opt/homebrew/bin'];

/** The first of `names` that can be run on this machine, as an absolute path. */
export function findBinary(...names: string[]): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...SERVER_FOLDERS].filter((folder) => folder !== '');
  for (const name of names) {
    for (const folder of folders) {
      // npm puts every node_modules/.bin on the PATH; a package of that name is not the server.
      if (folder.includes('node_modules')) continue;
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here; the next folder may have it.
      }
    }
  }
  return undefined;
}
