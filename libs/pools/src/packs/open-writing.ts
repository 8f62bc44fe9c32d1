/**
 * Opening a block for writing: the ledger decides whether there is something to resume, something to drop, or nothing to do at all.
 *
 * The ledger entry's detail holds `since`: the first fence whose session records the present job may build on. Whatever is older
 * belongs to another job or was removed, and may be in the middle of being deleted.
 */
import { randomBytes } from 'node:crypto';
import type { ChunkWorkers } from '@openservice/codec';
import { asOpenServiceError, FencedError, PermanentError, TransientError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { Ledger, type LedgerEntry, type LedgerHead } from '../ledger.ts';
import type { BlockWriter, WriteSession } from '../pool.ts';
import type { PoolKeys } from '../sealed/keys.ts';
import { isDamaged } from './checked.ts';
import { CommittedWriter } from './committed-writer.ts';
import { DamagedPlaces } from './damaged-places.ts';
import { CollectionView } from './gc/collection-view.ts';
import type { IndexCache } from './index-cache.ts';
import { fenceOf, ledgerPrefix, manifestKey, manifestOf, packKey, sessionPrefix } from './keys.ts';
import { SALT_BYTES } from './pack.ts';
import { decodePackedManifest } from './packed-manifest.ts';
import { PoolChunks } from './pool-chunks.ts';
import { chunkId } from './pool-mark.ts';
import { publishSession } from './publish-session.ts';
import { decodeSessionRecord, type SessionPack, type SessionRecord } from './session-record.ts';
import { sweepAttempts, sweepBlock, sweepSessions } from './sweep.ts';
import { Uploads } from './uploads.ts';
import { PacksWriter, type WriterEnds } from './writer.ts';
import { WriterState } from './writer-state.ts';

const NO_NAME = Buffer.alloc(0);
/** Session records read at once. */
const READING = 8;

export interface PoolParts {
  backend: Backend;
  workers: ChunkWorkers;
  /** Null: not encrypted. */
  keys: PoolKeys | null;
  digestKey: Buffer;
  poolId: string;
  cache: IndexCache;
  /** For tests of collection: sessions do not avoid what is condemned. */
  blind?: boolean;
}

export async function openWriting(pool: PoolParts, session: WriteSession, signal: AbortSignal): Promise<BlockWriter> {
  const { backend } = pool;
  const { blockId, fence, jobId, attempt } = session;
  const registered = await register(pool, session, signal);
  if (registered.writer !== null) return registered.writer;
  const { since, ledger } = registered;
  // From here on every collection sees this session; what was condemned before, the view tells.
  const view = await CollectionView.open(backend, signal, pool.blind);
  const state = new WriterState(session.size, session.chunkSize);
  const damaged = await DamagedPlaces.list(backend, signal);
  const past = await replay(pool, session, since, state, view, damaged, signal);
  await view.ack(blockId, fence, signal);
  const stop = new AbortController();
  const chunks = await PoolChunks.open(backend, pool.cache, view, damaged, stop.signal, signal);
  const salt = randomBytes(SALT_BYTES);
  const uploads = new Uploads(backend, state, { blockId, fence, salt, ...past }, stop.signal);
  const ends: WriterEnds = {
    async check(stopped) {
      await ledger.advance(fence, () => null, stopped);
    },
    async commit(stopped) {
      await commitSession(pool, session, stopped);
    },
    async abort(stopped) {
      const gone: LedgerEntry = { state: 'removed', fence, jobId, attempt, detail: {} };
      const { after: last } = await ledger.advance(fence, (head) => (head.entry?.state === 'open' ? gone : null), stopped);
      if (last.entry?.state === 'removed') await sweepBlock(backend, blockId, fence, stopped);
    },
  };
  return new PacksWriter({ ...pool, session, state, uploads, pool: chunks, view, stop, ends });
}

type Registered = { writer: BlockWriter } | { writer: null; since: number; ledger: Ledger };

/** Makes the session known in the block's ledger; a writer where this job committed the block before. */
export async function register(pool: PoolParts, session: WriteSession, signal: AbortSignal): Promise<Registered> {
  const { backend } = pool;
  const { blockId, fence } = session;
  const ledger = new Ledger(backend, ledgerPrefix(blockId));
  const { after } = await ledger.advance(fence, (head) => opened(head, session, pool.poolId), signal);
  const entry = after.entry!;
  if (entry.state === 'committed') return { writer: await committedWriter(pool, session.blockId, entry, signal) };
  const since = Number(entry.detail.since ?? fence);
  if (since > 0) await sweepBlock(backend, blockId, since - 1, signal);
  return { writer: null, since, ledger };
}

/** The ledger's `committed`, the pool's index, and the records go. May be repeated. */
export async function commitSession(pool: PoolParts, session: WriteSession, signal: AbortSignal): Promise<void> {
  const { blockId, fence, jobId, attempt } = session;
  const detail = { manifest: manifestKey(blockId, fence), ...(session.meta === undefined ? {} : { meta: session.meta }) };
  const done: LedgerEntry = { state: 'committed', fence, jobId, attempt, detail };
  const ledger = new Ledger(pool.backend, ledgerPrefix(blockId));
  await ledger.advance(fence, (head) => (isCommitted(head, session) ? null : whileOpen(head, session, done)), signal);
  await afterCommit(pool, blockId, fence, signal);
}

/** The entry that opening adds; null where this job committed the block, or this very attempt opened it, before. */
function opened(head: LedgerHead, session: WriteSession, poolId: string): LedgerEntry | null {
  const { blockId, fence, jobId, attempt } = session;
  const last = head.entry;
  const sameJob = last !== null && last.jobId === jobId;
  if (last?.state === 'committed' && sameJob) return null;
  if (last?.state === 'committed' || last?.state === 'trashed') {
    const where = last.state === 'trashed' ? `in the trash of pool ${poolId}` : `in pool ${poolId} already`;
    throw new PermanentError('block_exists', `Block ${blockId} is ${where}.`);
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

async function committedWriter(pool: PoolParts, blockId: string, entry: LedgerEntry, signal: AbortSignal): Promise<BlockWriter> {
  const key = manifestOf(blockId, entry);
  const fence = fenceOf(key) ?? entry.fence;
  const { rootDigest, storedBytes } = decodePackedManifest(await pool.backend.get(key, null, signal), key);
  return new CommittedWriter({ rootDigest, storedBytes }, (stopped) => afterCommit(pool, blockId, fence, stopped));
}

/**
 * The records have served once the index has what they say; earlier attempts' objects are nobody's. The block is committed by now: whatever goes wrong
 * here is tried again (TransientError `publish_incomplete`), for a job that failed must not have made a block.
 */
async function afterCommit(pool: PoolParts, blockId: string, fence: number, signal: AbortSignal): Promise<void> {
  try {
    await publishSession(pool, blockId, fence, signal);
    await sweepSessions(pool.backend, blockId, fence, signal);
    if (fence > 0) await sweepAttempts(pool.backend, blockId, fence - 1, signal);
  } catch (cause) {
    const error = asOpenServiceError(cause);
    if (error.outcome !== 'permanent') throw error;
    const message = `Block ${blockId} is committed, but its session could not be closed: ${error.message}`;
    throw new TransientError('publish_incomplete', message, { cause });
  }
}

interface Past {
  firstSequence: number;
  /** Bytes of packs that earlier attempts made durable. */
  storedBefore: number;
}

/**
 * Records from `since` on; a record of a lower fence may be a late one of another job. A pack that was condemned, or is not there as the
 * record says, is not relied on, nor is a place that is damaged: those chunks are sent again.
 */
async function replay(
  pool: PoolParts,
  session: WriteSession,
  since: number,
  state: WriterState,
  view: CollectionView,
  damaged: DamagedPlaces,
  signal: AbortSignal,
): Promise<Past> {
  const { backend, digestKey } = pool;
  const numbers = new Map<string, Promise<number | null>>();
  const prove = async (pack: SessionPack): Promise<number | null> => {
    if (view.isVoid(pack.name)) return null;
    if ((await backend.head(packKey(pack.name.toString('hex')), signal)) !== pack.size) return null;
    if (!pack.own) return state.packs.found(Buffer.from(pack.name), pack.size);
    const number = state.packs.reserve();
    state.packs.set(number, Buffer.from(pack.name), pack.size);
    return number;
  };
  const numberOf = (pack: SessionPack): Promise<number | null> => {
    const hex = pack.name.toString('hex');
    const known = numbers.get(hex) ?? prove(pack);
    numbers.set(hex, known);
    return known;
  };
  let firstSequence = 1;
  let keys: string[] = [];
  const read = async (): Promise<void> => {
    const take = async (key: string): Promise<[SessionRecord, (number | null)[]] | null> => {
      const record = await readRecord(backend, key, signal);
      return record === null ? null : [record, await Promise.all(record.packs.map(numberOf))];
    };
    for (const taken of await Promise.all(keys.map(take))) {
      if (taken === null) continue;
      const [record, packs] = taken;
      record.entries = record.entries.filter(({ pack, offset }) => !damaged.has(record.packs[pack]?.name ?? NO_NAME, offset));
      state.replay(record, packs, (digest) => chunkId(digestKey, digest));
    }
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
  for (const number of await Promise.all(numbers.values())) {
    if (number !== null && state.packs.isOwn(number)) storedBefore += state.packs.size(number);
  }
  return { firstSequence, storedBefore };
}

/** A record that is damaged is passed over: its chunks are sent again. */
async function readRecord(backend: Backend, key: string, signal: AbortSignal): Promise<SessionRecord | null> {
  try {
    return decodeSessionRecord(await backend.get(key, null, signal), key);
  } catch (error) {
    if (isDamaged(error)) return null;
    throw error;
  }
}
