/**
 * Two files, byte for byte. It shares nothing with the product: no chunk, no digest, no hole map, only reads.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { PermanentError } from '@openservice/domain';

const PIECE = 4 * 1024 * 1024;

/**
 * PermanentError `files_differ` that says where; answers the number of bytes compared when all are equal.
 * `onProgress` gets bytes compared and the size.
 */
export async function compareFiles(
  left: string,
  right: string,
  onProgress: (done: number, total: number) => void,
  signal: AbortSignal,
): Promise<number> {
  const a = await open(left, 'r');
  try {
    const b = await open(right, 'r');
    try {
      return await compareHandles(a, b, [left, right], onProgress, signal);
    } finally {
      await b.close();
    }
  } finally {
    await a.close();
  }
}

async function compareHandles(
  a: FileHandle,
  b: FileHandle,
  names: [left: string, right: string],
  onProgress: (done: number, total: number) => void,
  signal: AbortSignal,
): Promise<number> {
  const size = (await a.stat()).size;
  const other = (await b.stat()).size;
  if (size !== other) {
    throw new PermanentError('files_differ', `${names[0]} has ${size} bytes, ${names[1]} has ${other}.`);
  }
  const [one, two] = [Buffer.allocUnsafe(PIECE), Buffer.allocUnsafe(PIECE)];
  for (let at = 0; at < size; at += PIECE) {
    signal.throwIfAborted();
    const length = Math.min(PIECE, size - at);
    const [left, right] = await Promise.all([readFully(a, one, at, length), readFully(b, two, at, length)]);
    if (!left.equals(right)) {
      throw new PermanentError(
        'files_differ',
        `${names[0]} and ${names[1]} differ first at byte ${at + firstDifference(left, right)}.`,
      );
    }
    onProgress(at + length, size);
  }
  return size;
}

async function readFully(file: FileHandle, target: Buffer, position: number, length: number): Promise<Buffer> {
  let have = 0;
  while (have < length) {
    const { bytesRead } = await file.read(target, have, length - have, position + have);
    if (bytesRead === 0)
      throw new PermanentError('files_differ', `A file ended at byte ${position + have} while it was compared.`);
    have += bytesRead;
  }
  return target.subarray(0, length);
}

function firstDifference(left: Buffer, right: Buffer): number {
  let i = 0;
  while (i < left.length && left[i] === right[i]) i++;
  return i;
}
