/**
 * Named places where a test may end the process: `OPENSERVICE_FAILPOINTS=agent.acked=kill,upload.put=kill@20` sends SIGKILL to
 * itself at the first pass of one and the 20th of the other. `node.copied=kill:FILE` does so only while FILE is there, and
 * removes it first: a test arms a process that runs, once. `node.copying=hold@4:DIR` stops each subject (a job) at its 4th pass, for good, once in
 * its life, and leaves a file of its name in DIR, while DIR is there: so a test sees what it has in hand, kills the process, and what was held
 * goes on. Costs a map look-up where the variable is not set.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Armed {
  act: 'kill' | 'hold';
  pass: number;
  /** FILE of kill, DIR of hold. */
  path: string | null;
  /** By subject; a kill counts all as one. */
  passes: Map<string, number>;
}

const armed = new Map<string, Armed>();
for (const item of (process.env.OPENSERVICE_FAILPOINTS ?? '').split(',')) {
  const match = /^([a-z0-9.-]+)=(kill|hold)(?:@(\d+))?(?::(.+))?$/.exec(item.trim());
  if (match?.[1] === undefined) continue;
  const act = match[2] === 'hold' ? 'hold' : 'kill';
  armed.set(match[1], { act, pass: Number(match[3] ?? 1), path: match[4] ?? null, passes: new Map() });
}

/** Await it: nothing after the place may run in a process that is to die there. `subject`: the name of whose work passes here. */
export function failpoint(name: string, subject = ''): void | Promise<void> {
  const place = armed.get(name);
  if (place === undefined) return;
  const who = place.act === 'kill' ? '' : subject;
  const pass = (place.passes.get(who) ?? 0) + 1;
  place.passes.set(who, pass);
  if (pass < place.pass) return;
  if (place.act === 'hold') return pass === place.pass && place.path !== null && isFirst(place.path, who) ? forever() : undefined;
  if (place.path !== null && !taken(place.path)) return;
  process.kill(process.pid, 'SIGKILL');
  return forever();
}

const forever = (): Promise<void> => new Promise<never>(() => undefined);

/** True for the one caller that left the name in the directory; false where there is no directory. */
function isFirst(dir: string, name: string): boolean {
  if (!existsSync(dir)) return false;
  try {
    writeFileSync(join(dir, name), '', { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
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
