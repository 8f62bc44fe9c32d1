/** Disk images for the bench: made once, kept from run to run. */
import { existsSync } from 'node:fs';
import { link } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describeImage, type Image, makeImage } from '@openservice/stack/demo/image';
import { ProgressBar } from '@openservice/stack/demo/progress-bar';
import { FILE_SOURCES } from '@openservice/stack/demo/steps/make-disk';
import type { Lab } from './lab.ts';

/** An ext4 image of `size` bytes with about `fileBytes` of real files, where the node may import it from. */
export async function imageFor(lab: Lab, name: string, size: number, fileBytes: number): Promise<Omit<Image, 'files'>> {
  const kept = join(lab.dir, 'images', `${name}.img`);
  if (!existsSync(kept)) {
    const bar = new ProgressBar(`make ${name}`);
    try {
      const image = await makeImage({
        path: kept,
        size,
        fileBytes,
        sources: FILE_SOURCES,
        onProgress: (done, total) => bar.update(done, total),
        signal: lab.signal,
      });
      bar.finish(image.dataBytes, `${image.files} files`);
    } finally {
      bar.stop();
    }
  }
  const path = join(lab.imports, basename(kept));
  if (!existsSync(path)) await link(kept, path);
  return describeImage(path);
}
