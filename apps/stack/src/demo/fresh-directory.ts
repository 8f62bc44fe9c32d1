import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { isAlive, readPid } from '@openservice/servers';

const MARK = '.openservice-demo';

/**
 * Empties a directory that the demo itself made, or takes a new one. PermanentError `directory_not_ours` for one that holds anything else,
 * `already_running` while a stack runs in it.
 */
export function freshDirectory(dir: string): void {
  if (existsSync(dir) && readdirSync(dir).length > 0 && !existsSync(join(dir, MARK))) {
    throw new PermanentError(
      'directory_not_ours',
      `${dir} holds something else than a demo, and a demo wipes its directory; give another --dir.`,
    );
  }
  const pid = readPid(join(dir, 'stack.pid'));
  if (pid !== undefined && isAlive(pid)) {
    throw new PermanentError('already_running', `A demo runs in ${dir} already (pid ${pid}); stop it, or give another --dir.`);
  }
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(join(dir, MARK), { recursive: true, mode: 0o700 });
}
