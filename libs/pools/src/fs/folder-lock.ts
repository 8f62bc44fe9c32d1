/**
 * One at a time in a folder, across the processes of this machine, by flock(2) on the folder itself: the kernel lets go when a process ends,
 * and never before. For short steps only. Where there is no such libc, nothing is locked.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { asOpenServiceError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { errnoName, libc } from './libc.ts';

const EXCLUSIVE_NOW = 6;
const FIRST_WAIT_MS = 2;
const MOST_WAIT_MS = 50;

/** Runs `step` while no other holds `folder`, which must be there. CancelledError when `signal` fires while waiting. */
export async function inFolder<T>(folder: string, signal: AbortSignal, step: () => Promise<T>): Promise<T> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    for (let wait = FIRST_WAIT_MS; !lockNow(handle.fd); wait = Math.min(MOST_WAIT_MS, wait * 2)) {
      await setTimeout(wait, undefined, { signal }).catch(() => throwIfCancelled(signal));
    }
    return await step();
  } finally {
    await handle.close();
  }
}

/** False while somebody else has it. */
function lockNow(fd: number): boolean {
  const call = libc()?.flock;
  if (call === undefined || Number(call(fd, EXCLUSIVE_NOW)) === 0) return true;
  const code = errnoName();
  if (code === 'EAGAIN' || code === 'EWOULDBLOCK' || code === 'EINTR') return false;
  // A network filesystem without locks: its directory is this machine's alone.
  if (code === 'ENOLCK' || code === 'ENOSYS' || code === 'ENOTSUP' || code === 'EOPNOTSUPP') return true;
  throw asOpenServiceError(Object.assign(new Error(`flock failed: ${code}`), { code }));
}
