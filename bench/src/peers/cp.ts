/** The peer of a copy on one machine: cp, then sync of what it wrote. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lab, timeProgram } from '../lab.ts';

/** Seconds of both together; no reflink. */
export async function cpAndSync(lab: Lab, from: string): Promise<number> {
  const to = join(lab.dir, 'stack', 'peer.img');
  try {
    const copied = await timeProgram('cp', ['--sparse=always', '--reflink=never', from, to], lab.signal);
    return copied + (await timeProgram('sync', [to], lab.signal));
  } finally {
    await rm(to, { force: true });
  }
}
