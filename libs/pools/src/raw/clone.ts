/** Parts that are a reflinked copy of a committed block: the writer finds all of its chunks durable, and has only to commit. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { chunkCount, PermanentError } from '@openservice/domain';
import { syncDirectory } from '../fs/durable.ts';
import { reflink } from '../fs/reflink.ts';
import type { WriteSession } from '../pool.ts';
import { Bitmap } from './bitmap.ts';
import { dropPartsOf } from './block-files.ts';
import type { CommittedDetail } from './claim.ts';
import { beginRecord } from './part-files.ts';
import { blockFolder, partPaths } from './paths.ts';
import type { RawReaderFiles } from './reader.ts';
import { rootOfDigests } from './root-digest.ts';

export interface CloneSource {
  blockId: string;
  files: RawReaderFiles;
  detail: CommittedDetail;
}

/** PermanentError `size_mismatch` for a session that is not of the source's shape. */
export function checkShape({ blockId, detail }: CloneSource, session: WriteSession): void {
  if (detail.size === session.size && detail.chunkSize === session.chunkSize) return;
  throw new PermanentError(
    'size_mismatch',
    `Block ${blockId} has ${detail.size} bytes in chunks of ${detail.chunkSize}; its copy ${session.blockId} was asked for with ${session.size} in chunks of ${session.chunkSize}.`,
  );
}

/** Under the lock of the copy's folder: false, and no parts, where the filesystem has no reflinks. PermanentError `damaged_manifest`. */
export async function cloneParts(
  source: CloneSource,
  root: string,
  session: WriteSession,
  signal: AbortSignal,
): Promise<boolean> {
  const folder = blockFolder(root, session.blockId);
  const paths = partPaths(root, session.blockId, session.jobId);
  await dropPartsOf(paths, folder);
  const opened: FileHandle[] = [];
  const make = async (path: string): Promise<FileHandle> => {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600);
    opened.push(handle);
    return handle;
  };
  let done = false;
  try {
    const data = await make(paths.data);
    const digests = await make(paths.digests);
    if (!(await reflink(source.files.data, data)) || !(await reflink(source.files.digests, digests))) return false;
    await checkDigests(source, digests, signal);
    await Promise.all([data.sync(), digests.sync()]);
    const bits = new Bitmap(chunkCount(session.size, session.chunkSize));
    bits.setRange(0, bits.length);
    await beginRecord(await make(paths.durable), session, bits);
    await syncDirectory(folder);
    done = true;
    return true;
  } finally {
    for (const handle of opened) await handle.close();
    if (!done) await dropPartsOf(paths, folder);
  }
}

/** The digests of the copy make up the source's root digest, or else the source is damaged. */
async function checkDigests({ blockId, detail }: CloneSource, digests: FileHandle, signal: AbortSignal): Promise<void> {
  const root = await rootOfDigests(blockId, digests, detail, signal);
  if (root.toString('hex') === detail.rootDigest) return;
  throw new PermanentError(
    'damaged_manifest',
    `The digests of block ${blockId} do not make up its root digest; they are damaged. Verify the block and copy another replica.`,
  );
}
