/**
 * Removing what attempts left of a block. Everything is found through objects that go last (session records and manifests), so a sweep that
 * was cut off is simply done again. Only what carries a fence up to the given one is touched: a newer attempt's objects are out of reach.
 * Packs belong to one session, and segments lie under their attempt, so nothing removed here can be another block's.
 */

import { PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { ObjectNotFoundError } from '../backend.ts';
import { isHole } from '../manifest.ts';
import { attemptPrefix, blockPrefix, fenceOf, locationsKey, manifestKey, packKey, sessionPrefix } from './keys.ts';
import { decodePackedManifest, SEGMENT_ENTRY_BYTES } from './packed-manifest.ts';
import { HASH_BYTES, Locations, unpackSegment } from './segment.ts';
import { decodeSessionRecord } from './session-record.ts';
import { sideBySide } from './side-by-side.ts';

/** Removes session records of fences up to `fence`, each after the packs it lists, but for those that `keeps` names. */
export async function sweepSessions(
  backend: Backend,
  blockId: string,
  fence: number,
  keeps: (pack: Buffer) => boolean,
  signal: AbortSignal,
): Promise<void> {
  await sideBySide(backend.list(sessionPrefix(blockId), signal), async ({ key }) => {
    if ((fenceOf(key) ?? Number.POSITIVE_INFINITY) > fence) return;
    const record = await readOrNull(backend, key, (bytes) => decodeSessionRecord(bytes, key), signal);
    for (const pack of record?.packs ?? []) {
      if (!keeps(pack.name)) await backend.remove(packKey(pack.name.toString('hex')), signal);
    }
    await backend.remove(key, signal);
  });
}

/** Removes manifests and segments of fences up to `fence`, without their packs: those of attempts that did not commit. */
export async function sweepAttempts(backend: Backend, blockId: string, fence: number, signal: AbortSignal): Promise<void> {
  for await (const { key } of backend.list(blockPrefix(blockId), signal)) {
    if ((fenceOf(key) ?? Number.POSITIVE_INFINITY) <= fence) await backend.remove(key, signal);
  }
}

/** Removes all of the block up to `fence`, the ledger excepted. */
export async function sweepBlock(backend: Backend, blockId: string, fence: number, signal: AbortSignal): Promise<void> {
  const fences = new Set<number>();
  for await (const { key } of backend.list(blockPrefix(blockId), signal)) {
    const found = fenceOf(key);
    if (found !== null && found <= fence) fences.add(found);
  }
  for (const found of fences) await sweepAttempt(backend, blockId, found, signal);
  await sweepSessions(backend, blockId, fence, () => false, signal);
}

async function sweepAttempt(backend: Backend, blockId: string, fence: number, signal: AbortSignal): Promise<void> {
  const key = manifestKey(blockId, fence);
  const manifest = await readOrNull(backend, key, (bytes) => decodePackedManifest(bytes, key), signal);
  for (let at = 0; at < (manifest?.segments.length ?? 0); at += SEGMENT_ENTRY_BYTES) {
    const hash = manifest!.segments.subarray(at + HASH_BYTES, at + SEGMENT_ENTRY_BYTES);
    if (isHole(hash)) continue;
    const segment = locationsKey(blockId, fence, hash);
    const read = async (bytes: Buffer) => new Locations(await unpackSegment(bytes, hash, segment)).packs;
    const packs = await readOrNull(backend, segment, read, signal);
    await sideBySide(packs ?? [], (pack) => backend.remove(packKey(pack), signal));
    await backend.remove(segment, signal);
  }
  for await (const { key: other } of backend.list(attemptPrefix(blockId, fence), signal)) {
    if (other !== key) await backend.remove(other, signal);
  }
  await backend.remove(key, signal);
}

/** Null for what is gone, and for what is too damaged to say what it lists: that is left to the pool's collection. */
async function readOrNull<T>(
  backend: Backend,
  key: string,
  decode: (bytes: Buffer) => T | Promise<T>,
  signal: AbortSignal,
): Promise<T | null> {
  try {
    return await decode(await backend.get(key, null, signal));
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return null;
    if (error instanceof PermanentError && error.code.startsWith('damaged_')) return null;
    throw error;
  }
}
