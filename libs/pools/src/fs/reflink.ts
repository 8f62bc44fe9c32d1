/** A file that shares another's bytes until one of them is changed, by ioctl(FICLONE): XFS, btrfs and others; no byte moves. */
import type { FileHandle } from 'node:fs/promises';
import { asOpenServiceError } from '@openservice/domain';
import { errnoName, libc } from './libc.ts';

const FICLONE = 0x40049409;
/** What filesystems answer that have no reflinks, or none between these two files. Some names are of one number. */
const CANNOT = new Set(['EOPNOTSUPP', 'ENOTSUP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS', 'ETXTBSY']);

/** `target`, empty and open for writing, has all of `source` once this answers true; false where this cannot be done here. */
export async function reflink(source: FileHandle, target: FileHandle): Promise<boolean> {
  const call = libc()?.ioctl;
  if (call === undefined) return false;
  // A file of very many extents takes a while: off the event loop.
  const result = await new Promise<number>((resolve, reject) => {
    call.async(target.fd, FICLONE, source.fd, (error, value) => (error ? reject(error) : resolve(value)));
  });
  if (result === 0) return true;
  // Again on this thread, whose errno can be read.
  if (Number(call(target.fd, FICLONE, source.fd)) === 0) return true;
  const code = errnoName();
  if (CANNOT.has(code)) return false;
  throw asOpenServiceError(Object.assign(new Error(`ioctl(FICLONE) failed: ${code}`), { code }));
}
