/** Images for live disks: real data without holes in between, and the same spread over a very large disk. */
import { existsSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';

const STEP = 1024 * 1024;
const ZEROS = Buffer.alloc(STEP);

/** The data of `image`, `size` bytes of it (or all there is) without its holes, at `path`. Kept from run to run. */
export async function denseImage(image: string, path: string, size: number, signal: AbortSignal): Promise<void> {
  if (existsSync(path)) return;
  await write(image, path, size, (at) => at, null, signal);
}

/** The same in pieces of 1 MiB, evenly over a sparse disk of `whole` bytes. */
export async function spreadImage(image: string, path: string, size: number, whole: number, signal: AbortSignal): Promise<void> {
  if (existsSync(path)) return;
  const every = Math.floor(whole / (size / STEP) / STEP) * STEP;
  await write(image, path, size, (at) => (at / STEP) * every, whole, signal);
}

export function imageIn(directory: string, name: string): string {
  return join(directory, 'images', `${name}.img`);
}

async function write(
  image: string,
  path: string,
  size: number,
  place: (at: number) => number,
  whole: number | null,
  signal: AbortSignal,
): Promise<void> {
  const from = await open(image, 'r');
  const to = await open(`${path}.part`, 'w');
  try {
    if (whole !== null) await to.truncate(whole);
    const buffer = Buffer.allocUnsafe(STEP);
    const { size: end } = await from.stat();
    let at = 0;
    for (let offset = 0; offset + STEP <= end && at < size; offset += STEP) {
      signal.throwIfAborted();
      await from.read(buffer, 0, STEP, offset);
      if (buffer.equals(ZEROS)) continue;
      await to.write(buffer, 0, STEP, place(at));
      at += STEP;
    }
  } finally {
    await from.close();
    await to.close();
  }
  await rename(`${path}.part`, path);
}
