/**
 * Named places where a test may end the process: `OPENSERVICE_FAILPOINTS=agent.acked=kill,upload.put=kill@20` sends SIGKILL to
 * itself at the first pass of one and the 20th of the other. `node.copied=kill:FILE` does so only while FILE is there, and
 * removes it first: a test arms a process that runs, once. Costs a map look-up where the variable is not set.
 */
import { rmSync } from 'node:fs';

interface Armed {
  left: number;
  file: string | null;
}

const armed = new Map<string, Armed>();
for (const item of (process.env.OPENSERVICE_FAILPOINTS ?? '').split(',')) {
  const match = /^([a-z0-9.-]+)=kill(?:@(\d+))?(?::(.+))?$/.exec(item.trim());
  if (match?.[1] !== undefined) armed.set(match[1], { left: Number(match[2] ?? 1), file: match[3] ?? null });
}

/** Await it: nothing after the place may run in a process that is to die there. */
export function failpoint(name: string): void | Promise<void> {
  const place = armed.get(name);
  if (place === undefined) return;
  if (place.left > 1) {
    place.left -= 1;
    return;
  }
  if (place.file !== null && !taken(place.file)) return;
  process.kill(process.pid, 'SIGKILL');
  return new Promise<never>(() => undefined);
}

/** True for the one caller that removed the file. */
function taken(file: string): boolean {
  try {
    rmSync(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
