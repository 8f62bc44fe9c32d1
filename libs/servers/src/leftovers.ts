import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './probe.ts';

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie is dead already; only its parent has not asked yet.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** A pid may have been given to somebody else since: only a process that names `dir` is one of that directory's. */
export function belongsTo(pid: number, dir: string): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    if (words.some((word) => word === dir || word.includes(`${dir}/`))) return true;
    const cwd = readlinkSync(`/proc/${pid}/cwd`);
    return cwd === dir || cwd.startsWith(`${dir}/`);
  } catch {
    return false;
  }
}

export function readPid(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, 'utf8').trim());
    return Number.isInteger(pid) && pid > 1 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Ends what an earlier run under `dir` left (its supervisor was SIGKILLed): every pid in `dir`/run that is still of `dir`. */
export async function endLeftovers(dir: string): Promise<number[]> {
  const run = join(dir, 'run');
  let files: string[];
  try {
    files = readdirSync(run).filter((file) => file.endsWith('.pid'));
  } catch {
    return [];
  }
  const ended: number[] = [];
  for (const file of files) {
    const pid = readPid(join(run, file));
    if (pid !== undefined && pid !== process.pid && isAlive(pid) && belongsTo(pid, dir)) {
      process.kill(pid, 'SIGKILL');
      ended.push(pid);
    }
    rmSync(join(run, file), { force: true });
  }
  await until(async () => ended.every((pid) => !isAlive(pid)), { limitMs: 10_000, everyMs: 10 });
  return ended;
}
