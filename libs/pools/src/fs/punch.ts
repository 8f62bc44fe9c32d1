/** Makes a range of a file read as zeros: a hole where the filesystem makes them, zeros written elsewhere. */

import type { FileHandle } from 'node:fs/promises';
import { fallocateHole } from './libc.ts';

const ZEROS = Buffer.alloc(1024 * 1024);

/** Bytes `offset` … `offset + length - 1` are zeros (durable after the next sync); the file's size stays. */
export async function punchHole(handle: FileHandle, offset: number, length: number): Promise<void> {
  if (fallocateHole(handle.fd, offset, length)) return;
  for (let at = 0; at < length; at += ZEROS.length) {
    await handle.write(ZEROS, 0, Math.min(ZEROS.length, length - at), offset + at);
  }
}
