/** What a collection puts in order beside deleting: the index, and what dead sessions and attempts left. */
import { type Backend, ObjectNotFoundError } from '../../backend.ts';
import { Ledger } from '../../ledger.ts';
import { isDamaged } from '../checked.ts';
import { encodeIndexObject, type IndexObject, type OpenIndex, openIndexObject } from '../index-object.ts';
import {
  DAMAGED_PREFIX,
  fenceOf,
  healedIndexKey,
  INDEX_PREFIX,
  ledgerPrefix,
  manifestOf,
  PROBE_PREFIX,
  packKey,
  REPAIRS_PREFIX,
  SESSIONS_PREFIX,
  sessionPrefix,
} from '../keys.ts';
import { PACK_TRAILER_BYTES, packTailBytes, readPackFooter } from '../pack.ts';
import { decodeSessionRecord } from '../session-record.ts';
import { sideBySide } from '../side-by-side.ts';
import { sweepAttempts, sweepBlock, sweepSessions } from '../sweep.ts';
import { blockIds } from './mark.ts';
import type { Snapshot } from './snapshot.ts';

/** Entries of one index object: about 3 MiB. */
const MOST_ENTRIES = 65_536;

/** Removes index objects of which no pack is left, and notes which packs the others name. Answers how many objects went. */
export async function sweepIndex(backend: Backend, snapshot: Snapshot, signal: AbortSignal): Promise<number> {
  let removed = 0;
  await sideBySide(backend.list(INDEX_PREFIX, signal), async ({ key }) => {
    const index = await readIndex(backend, key, signal);
    if (index === null) return;
    const alive = await anyAlive(backend, snapshot, index, signal);
    if (alive) for (const { name } of index.packs) snapshot.indexed(name);
    else {
      await backend.remove(key, signal);
      removed++;
    }
  });
  return removed;
}

/** Null where it went meanwhile. A damaged one names nothing: it goes, and its packs are indexed anew. */
async function readIndex(backend: Backend, key: string, signal: AbortSignal): Promise<OpenIndex | null> {
  try {
    return openIndexObject(await backend.get(key, null, signal), key);
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return null;
    if (isDamaged(error)) return { packs: [], entries: Buffer.alloc(0), segments: [] };
    throw error;
  }
}

async function anyAlive(backend: Backend, snapshot: Snapshot, index: OpenIndex, signal: AbortSignal): Promise<boolean> {
  const unknown: Buffer[] = [];
  for (const { name } of index.packs) {
    const dead = snapshot.isDead(name);
    if (dead === false) return true;
    if (dead === null) unknown.push(name);
  }
  for (const { digests } of index.segments) if (snapshot.isDead(digests) === false) return true;
  // Younger than the snapshot, or long gone.
  for (const name of unknown) if ((await backend.head(packKey(name.toString('hex')), signal)) !== null) return true;
  return false;
}

/** Packs that stay and that no index object names are read and indexed: an index that was lost comes back. Answers how many packs. */
export async function indexAnew(backend: Backend, snapshot: Snapshot, round: string, signal: AbortSignal): Promise<number> {
  let index: IndexObject = { packs: [], entries: [], segments: [] };
  let [parts, packs] = [0, 0];
  const put = async (): Promise<void> => {
    if (index.packs.length === 0) return;
    await backend.put(healedIndexKey(round, parts++), encodeIndexObject(index), signal);
    index = { packs: [], entries: [], segments: [] };
  };
  for (const { name, size } of snapshot.unindexedPacks()) {
    const entries = await footerOf(backend, packKey(name.toString('hex')), size, signal);
    if (entries === null) continue;
    packs++;
    const pack = index.packs.push({ name, size }) - 1;
    for (const { id, offset, length } of entries) index.entries.push({ id, pack, offset, length });
    if (index.entries.length >= MOST_ENTRIES) await put();
  }
  await put();
  return packs;
}

/** Null for a pack that went, or whose footer is damaged: verify finds that, and it is merely not found by the index. */
async function footerOf(
  backend: Backend,
  key: string,
  size: number,
  signal: AbortSignal,
): Promise<ReturnType<typeof readPackFooter> | null> {
  try {
    if (size < PACK_TRAILER_BYTES) return null;
    const trailer = await backend.get(key, { offset: size - PACK_TRAILER_BYTES, length: PACK_TRAILER_BYTES }, signal);
    const length = packTailBytes(trailer);
    if (length > size) return null;
    return readPackFooter(await backend.get(key, { offset: size - length, length }, signal));
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return null;
    if (isDamaged(error)) return null;
    throw error;
  }
}

/** Repairs and marks of packs that nothing refers to any more; one of a pack that was lost goes on serving its blocks. */
export async function sweepRepairs(backend: Backend, snapshot: Snapshot, signal: AbortSignal): Promise<number> {
  let removed = 0;
  for (const prefix of [REPAIRS_PREFIX, DAMAGED_PREFIX]) {
    await sideBySide(backend.list(prefix, signal), async ({ key }) => {
      const pack = key.split('/')[1] ?? '';
      const dead = snapshot.isDead(Buffer.from(pack, 'hex'));
      if (dead === false || (dead === null && (await backend.head(packKey(pack), signal)) !== null)) return;
      await backend.remove(key, signal);
      removed++;
    });
  }
  return removed;
}

/** Records, manifests and private segments of attempts that are over, and what a probe left. */
export async function sweepLeftovers(backend: Backend, snapshot: Snapshot, signal: AbortSignal): Promise<void> {
  await sideBySide(blockIds(backend, signal), async (blockId) => {
    const { entry } = await new Ledger(backend, ledgerPrefix(blockId)).head(signal);
    if (entry?.state === 'removed') return sweepBlock(backend, blockId, entry.fence, signal);
    if (entry?.state === 'open' || entry === null) return;
    const fence = fenceOf(manifestOf(blockId, entry)) ?? entry.fence;
    if (fence > 0) await sweepAttempts(backend, blockId, fence - 1, signal);
    await sweepRecords(backend, snapshot, blockId, fence, signal);
  });
  let last = '';
  await sideBySide(backend.list(SESSIONS_PREFIX, signal), async ({ key }) => {
    const blockId = key.split('/')[1] ?? '';
    if (blockId === last) return;
    last = blockId;
    // A record that came late, after all else of its block was gone.
    const { entry } = await new Ledger(backend, ledgerPrefix(blockId)).head(signal);
    if (entry?.state === 'removed') await sweepSessions(backend, blockId, entry.fence, signal);
  });
  await sideBySide(backend.list(PROBE_PREFIX, signal), ({ key }) => backend.remove(key, signal));
}

/**
 * Records of a committed block: its node died before it swept them, or they came late. One that names packs younger than the snapshot may be of
 * a commit that is just making its index of it.
 */
async function sweepRecords(
  backend: Backend,
  snapshot: Snapshot,
  blockId: string,
  fence: number,
  signal: AbortSignal,
): Promise<void> {
  await sideBySide(backend.list(sessionPrefix(blockId), signal), async ({ key }) => {
    const of = fenceOf(key);
    if (of === null || of > fence) return;
    if (of === fence && (await isYoung(backend, snapshot, key, signal))) return;
    await backend.remove(key, signal);
  });
}

async function isYoung(backend: Backend, snapshot: Snapshot, key: string, signal: AbortSignal): Promise<boolean> {
  try {
    const { packs } = decodeSessionRecord(await backend.get(key, null, signal), key);
    return packs.some(({ name, own }) => own && !snapshot.listed(name));
  } catch (error) {
    if (error instanceof ObjectNotFoundError || isDamaged(error)) return false;
    throw error;
  }
}
