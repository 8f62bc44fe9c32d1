/** Which layers a disk has, bottom first: a small file that is replaced as a whole. Not there: nothing was ever written. */
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asOpenServiceError, PermanentError } from '@openservice/domain';
import { syncDirectory } from './directory.ts';

const FILE = 'layers.json';

export async function readLayers(directory: string): Promise<number[] | null> {
  let text: string;
  try {
    text = await readFile(join(directory, FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw asOpenServiceError(error);
  }
  try {
    const { layers } = JSON.parse(text) as { layers?: unknown };
    if (Array.isArray(layers) && layers.length > 0 && layers.every((layer) => Number.isSafeInteger(layer)))
      return layers as number[];
  } catch {
    // Said below.
  }
  throw new PermanentError('damaged_overlay', `${join(directory, FILE)} is damaged; the disk's writes cannot be put together.`);
}

/** Durable once it resolves. After an error it is the list before, unless `renamed` was called: then nobody knows which one a power cut leaves. */
export async function writeLayers(directory: string, layers: readonly number[], renamed?: () => void): Promise<void> {
  const path = join(directory, FILE);
  try {
    const file = await open(`${path}.new`, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ layers })}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
    renamed?.();
    await syncDirectory(directory);
  } catch (error) {
    throw asOpenServiceError(error);
  }
}

export function layerPath(directory: string, layer: number): string {
  return join(directory, String(layer));
}

/** Removes the folders of layers that are not in the list: a crash left them. */
export async function sweepLayers(directory: string, layers: readonly number[]): Promise<void> {
  for (const name of await readdir(directory)) {
    if (/^\d+$/.test(name) && !layers.includes(Number(name))) await rm(join(directory, name), { recursive: true, force: true });
  }
}
