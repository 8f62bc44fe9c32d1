import { readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { isAlive, readPid } from '@openservice/servers';

/** Whether `pid` runs the same program as we do: a pid of before a reboot may be anybody's now. */
function runsNode(pid: number): boolean {
  try {
    return /node/.test(readlinkSync(`/proc/${pid}/exe`));
  } catch {
    return process.platform !== 'linux';
  }
}

/** What this very process holds: after a restart of a container the pid in a file of before may be our own. */
const held = new Set<string>();

/** Only one stack runs in a directory. Throws PermanentError `already_running` with its pid. Answers how to let go. */
export function ownDirectory(dir: string): () => void {
  const file = join(dir, 'stack.pid');
  for (;;) {
    try {
      writeFileSync(file, `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
      held.add(file);
      return () => {
        held.delete(file);
        rmSync(file, { force: true });
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const pid = readPid(file);
    const runs = pid === process.pid ? held.has(file) : pid !== undefined && isAlive(pid) && runsNode(pid);
    if (runs) {
      throw new PermanentError('already_running', `A stack runs in ${dir} already (pid ${pid}); stop it, or give another --dir.`);
    }
    rmSync(file, { force: true });
  }
}
