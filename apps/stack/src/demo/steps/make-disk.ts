import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeImage } from '../image.ts';
import { ProgressBar } from '../progress-bar.ts';
import { formatBytes } from '../units.ts';
import type { StepRow } from './context.ts';

/** Share of the disk that is filled with files; the rest is holes. */
const FILLED = 0.35;
const ROOT = fileURLToPath(new URL('../../../../..', import.meta.url));

/** Directories full of files on every machine that can run this. */
export const FILE_SOURCES: readonly string[] = [
  `${ROOT}node_modules`,
  dirname(process.execPath),
  '/usr/lib',
  '/usr/share',
  '/usr/bin',
];

export async function makeDisk(
  path: string,
  size: number,
  signal: AbortSignal,
): Promise<{ size: number; dataBytes: number; row: StepRow }> {
  const bar = new ProgressBar('make a disk (ext4)');
  try {
    const image = await makeImage({
      path,
      size,
      fileBytes: Math.round(size * FILLED),
      sources: FILE_SOURCES,
      onProgress: (done, total) => bar.update(done, total),
      signal,
    });
    const note = `${image.files} files, ${formatBytes(image.dataBytes)} of data, the rest holes`;
    const row = { step: 'make a disk (ext4)', bytes: size, seconds: bar.finish(size, note), note };
    return { size, dataBytes: image.dataBytes, row };
  } finally {
    bar.stop();
  }
}
