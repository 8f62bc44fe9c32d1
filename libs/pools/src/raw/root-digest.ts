import type { FileHandle } from 'node:fs/promises';
import { chunkCount, PermanentError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { DIGEST_BYTES, type ManifestHead, RootHasher } from '../manifest.ts';
import { digestOffset } from './part-files.ts';

/** A multiple of DIGEST_BYTES. */
const STEP_BYTES = 1024 * 1024;

/**
 * The root digest of what a file of digests holds. `instead`: as if chunk `index` had that digest. PermanentError `damaged_manifest` for
 * a file that was cut.
 */
export async function rootOfDigests(
  blockId: string,
  digests: FileHandle,
  head: ManifestHead,
  signal: AbortSignal,
  instead: { index: number; digest: Buffer } | null = null,
): Promise<Buffer> {
  const hasher = new RootHasher(head);
  const end = digestOffset(chunkCount(head.size, head.chunkSize));
  const page = Buffer.alloc(Math.min(STEP_BYTES, end));
  const wanted = instead === null ? -1 : digestOffset(instead.index);
  for (let at = digestOffset(0); at < end; ) {
    throwIfCancelled(signal);
    const whole = page.subarray(0, Math.min(page.length - (page.length % DIGEST_BYTES), end - at));
    for (let read = 0; read < whole.length; ) {
      const { bytesRead } = await digests.read(whole, read, whole.length - read, at + read);
      if (bytesRead === 0) throw new PermanentError('damaged_manifest', `The digests of block ${blockId} were cut.`);
      read += bytesRead;
    }
    if (instead !== null && wanted >= at && wanted < at + whole.length) instead.digest.copy(whole, wanted - at);
    hasher.update(whole);
    at += whole.length;
  }
  return hasher.digest();
}
