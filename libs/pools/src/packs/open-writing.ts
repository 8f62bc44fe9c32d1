/**
 * Opening a block for writing: the ledger decides whether there is something to resume, something to drop, or nothing to do at all.
 *
 * The ledger entry's detail holds `since`: the first fence whose session records the present job may build on. Whatever is older
 * belongs to another job or was removed, and may be in the middle of being deleted.
 */
import { randomBytes } from 'node:crypto';
import type { ChunkWorkers } from '@openservice/codec';
import { FencedError, OpenServiceError, PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { Ledger, type LedgerEntry, type LedgerHead } from '../ledger.ts';
import type { BlockWriter, WriteSession } from '../pool.ts';
import { fenceOf, ledgerPrefix, manifestKey, sessionPrefix } from './keys.ts';
import { SALT_BYTES } from './pack.ts';
import { decodePackedManifest } from './packed-manifest.ts';
import { chunkId } from './pool-mark.ts';
import { decodeSessionRecord } from './session-record.ts';
import { sweepAttempts, sweepBlock, sweepSessions } from './sweep.ts';
import { Uploads } from './uploads.ts';
import { CommittedWriter, PacksWriter, type WriterEnds } from './writer.ts';
import { WriterState } from './writer-state.ts';

/** Session records read at once. */
const READING = 8;

interface PoolParts {
  backend: Backend;
  workers: ChunkWorkers;
  digestKey: Buffer;
  poolId: string;
}

export async function openWriting(pool: PoolParts, session: WriteSession, signal: AbortSignal): Promise<BlockWriter> {
  const { backend } = pool;
  const { blockId, fence, jobId, attempt } = session;
  const ledger = new Ledger(backend, ledgerPrefix(blockId));
  const { after } = await ledger.advance(fence, (head) => opened(head, session, pool.poolId), signal);
  const entry = after.entry!;
  if (entry.state === 'committed') return await committedWriter(backend, session, entry.fence, signal);
  const since = Number(entry.detail.since ?? fence);
  if (since > 0) await sweepBlock(backend, blockId, since - 1, signal);

  const state = new WriterState(session.size, session.chunkSize);
  const past = await replay(pool, session, since, state, signal);
  const stop = new AbortController();
  const salt = randomBytes(SALT_BYTES);
  const uploads = new Uploads(backend, state, { blockId, fence, salt, ...past }, stop.signal);
  const ends: WriterEnds = {
    async check(stopped) {
      await ledger.advance(fence, () => null, stopped);
    },
    async commit(stopped) {
      const done: LedgerEntry = { state: 'committed', fence, jobId, attempt, detail: { manifest: manifestKey(blockId, fence) } };
      await ledger.advance(fence, (head) => (isCommitted(head, session) ? null : whileOpen(head, session, done)), stopped);
      await sweepAfterCommit(backend, blockId, fence, state.packs.keeps(), stopped);
    },
    async abort(stopped) {
      const gone: LedgerEntry = { state: 'removed', fence, jobId, attempt, detail: {} };
      const { after: last } = await ledger.advance(fence, (head) => (head.entry?.state === 'open' ? gone : null), stopped);
      if (last.entry?.state === 'removed') await sweepBlock(backend, blockId, fence, stopped);
    },
  };
  return new PacksWriter({ ...pool, session, state, uploads, stop, ends });
}

/** The entry that opening adds; null where this job committed the block, or this very attempt opened it, before. */
function opened(head: LedgerHead, session: WriteSession, poolId: string): LedgerEntry | null {
  const { blockId, fence, jobId, attempt } = session;
  const last = head.entry;
  const sameJob = last !== null && last.jobId === jobId;
  if (last?.state === 'committed') {
    if (sameJob) return null;
    throw new PermanentError('block_exists', `Block ${blockId} is in pool ${poolId} already.`);
  }
  const goesOn = last?.state === 'open' && sameJob;
  if (goesOn && last.fence === fence && last.attempt === attempt) return null;
  return { state: 'open', fence, jobId, attempt, detail: { since: goesOn ? Number(last.detail.since ?? last.fence) : fence } };
}

function isCommitted(head: LedgerHead, session: WriteSession): boolean {
  return head.entry?.state === 'committed' && head.entry.jobId === session.jobId && head.entry.fence === session.fence;
}

function whileOpen(head: LedgerHead, session: WriteSession, next: LedgerEntry): LedgerEntry {
  const last = head.entry;
  if (last?.state === 'open' && last.fence === session.fence && last.jobId === session.jobId) return next;
  throw new FencedError(
    `Attempt ${session.attempt} of job ${session.jobId} no longer owns block ${session.blockId}: it is ${last?.state ?? 'gone'}.`,
  );
}

async function committedWriter(
  backend: Backend,
  session: WriteSession,
  fence: number,
  signal: AbortSignal,
): Promise<BlockWriter> {
  const key = manifestKey(session.blockId, fence);
  const { rootDigest, storedBytes } = decodePackedManifest(await backend.get(key, null, signal), key);
  // Packs are kept, all of them: which of them the manifest does not need, only the pool's collection finds out.
  const sweep = (stopped: AbortSignal) => sweepAfterCommit(backend, session.blockId, fence, () => true, stopped);
  return new CommittedWriter({ rootDigest, storedBytes }, sweep);
}

/** Records have served; earlier attempts' segments are nobody's. */
async function sweepAfterCommit(
  backend: Backend,
  blockId: string,
  fence: number,
  keeps: (pack: Buffer) => boolean,
  signal: AbortSignal,
): Promise<void> {
  await sweepSessions(backend, blockId, fence, keeps, signal);
  if (fence > 0) await sweepAttempts(backend, blockId, fence - 1, signal);
}

interface Past {
  firstSequence: number;
  /** Bytes of packs that earlier attempts made durable. */
  storedBefore: number;
}

/** Records from `since` on; a record of a lower fence may be a late one of another job. */
async function replay(
  pool: PoolParts,
  session: WriteSession,
  since: number,
  state: WriterState,
  signal: AbortSignal,
): Promise<Past> {
  const { backend, digestKey } = pool;
  const numbers = new Map<string, number>();
  const numberOf = (name: Buffer, size: number): number => {
    const hex = name.toString('hex');
    const known = numbers.get(hex) ?? state.packs.reserve();
    numbers.set(hex, known);
    state.packs.set(known, Buffer.from(name), size);
    return known;
  };
  let firstSequence = 1;
  let keys: string[] = [];
  const read = async (): Promise<void> => {
    const records = await Promise.all(keys.map(async (key) => readRecord(await backend.get(key, null, signal), key)));
    for (const record of records) if (record !== null) state.replay(record, numberOf, (digest) => chunkId(digestKey, digest));
    keys = [];
  };
  for await (const { key } of backend.list(sessionPrefix(session.blockId), signal)) {
    const fence = fenceOf(key);
    if (fence === null || fence < since || fence > session.fence) continue;
    if (fence === session.fence) firstSequence = Number(key.slice(-8)) + 1;
    if (keys.push(key) === READING) await read();
  }
  await read();
  let storedBefore = 0;
  for (const number of numbers.values()) storedBefore += state.packs.size(number);
  return { firstSequence, storedBefore };
}

/** A record that is damaged is passed over: its chunks are sent again. */
function readRecord(bytes: Buffer, key: string): ReturnType<typeof decodeSessionRecord> | null {
  try {
    return decodeSessionRecord(bytes, key);
  } catch (error) {
    if (error instanceof OpenServiceError && error.code === 'damaged_checkpoint') return null;
    throw error;
  }
}
