/** A file or block device of this node, read as it is. */
import type { FileHandle } from 'node:fs/promises';
import { fileSource } from '@openservice/transfer';
import type { ImportSource, SourceBlock, SourceDeps } from './port.ts';
import { demandSize } from './size.ts';

/** Errors are those of ImportRoots.openSource, and `source_changed`. */
export async function openFile(deps: SourceDeps, path: string, block: SourceBlock): Promise<ImportSource> {
  const { handle, size } = await deps.importRoots.openSource(path);
  return openHandle(deps, { handle, path, size }, block);
}

/** Closes the handle where it fails. `path`: for messages. */
export async function openHandle(
  deps: Pick<SourceDeps, 'workers'>,
  file: { handle: FileHandle; path: string; size: number },
  block: SourceBlock,
): Promise<ImportSource> {
  const { handle, path, size } = file;
  try {
    demandSize(path, size, block);
    const source = await fileSource({ handle, path, size, chunkSize: block.chunkSize, workers: deps.workers });
    return Object.assign(source, { notes: () => [] });
  } catch (error) {
    await handle.close();
    throw error;
  }
}
