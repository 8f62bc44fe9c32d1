/**
 * Who writes a block: the ledger across processes, and a table of this process's writers, so that an older one finds out at its
 * very next call instead of at its next checkpoint.
 */
import { FencedError, isBlockShape, PermanentError } from '@openservice/domain';
import type { Ledger, LedgerEntry, LedgerHead } from '../ledger.ts';
import type { BlockMeta, WriteSession } from '../pool.ts';

export interface CommittedDetail {
  size: number;
  chunkSize: number;
  rootDigest: string;
  storedBytes: number;
  meta?: BlockMeta;
}

interface Ousted {
  /** Refuses all further calls, and resolves when those under way have ended. */
  oust(): Promise<void>;
}

const writers = new Map<string, Ousted>();
const turns = new Map<string, Promise<unknown>>();

/** Runs the steps of one block one after the other in this process. `place` names pool directory and block. */
export async function inTurn<T>(place: string, step: () => Promise<T>): Promise<T> {
  const before = turns.get(place) ?? Promise.resolve();
  const run = before.then(step, step);
  const done = run.catch(() => {});
  turns.set(place, done);
  try {
    return await run;
  } finally {
    if (turns.get(place) === done) turns.delete(place);
  }
}

/** Ousts the present writer of `place` and waits for what it has under way. */
export async function oust(place: string): Promise<void> {
  const writer = writers.get(place);
  writers.delete(place);
  await writer?.oust();
}

export function enter(place: string, writer: Ousted): void {
  writers.set(place, writer);
}

export function leave(place: string, writer: Ousted): void {
  if (writers.get(place) === writer) writers.delete(place);
}

export interface Claimed {
  /** The entry of this same job when it has committed already. */
  done: LedgerEntry | null;
  /** This same job had the block open before: what its parts hold is its own. */
  goesOn: boolean;
}

/** Claims the block. PermanentError `block_exists`; `poolName` is for its message. */
export async function claim(ledger: Ledger, session: WriteSession, poolName: string, signal: AbortSignal): Promise<Claimed> {
  const { before } = await ledger.advance(
    session.fence,
    ({ entry }) => {
      if (entry?.state === 'committed' && entry.jobId === session.jobId) return null;
      if (entry?.state === 'committed' || entry?.state === 'trashed') throw exists(session, entry, poolName);
      return entryOf(session, 'open', { size: session.size, chunkSize: session.chunkSize });
    },
    signal,
  );
  const { entry } = before;
  return {
    done: entry?.state === 'committed' ? entry : null,
    goesOn: entry?.state === 'open' && entry.jobId === session.jobId,
  };
}

function exists(session: WriteSession, entry: LedgerEntry, poolName: string): PermanentError {
  const where = entry.state === 'trashed' ? `in the trash of ${poolName}` : `in ${poolName} already`;
  return new PermanentError('block_exists', `Block ${session.blockId} is ${where}; job ${entry.jobId} wrote it.`);
}

export function entryOf(session: WriteSession, state: LedgerEntry['state'], detail: Record<string, unknown>): LedgerEntry {
  return { state, fence: session.fence, jobId: session.jobId, attempt: session.attempt, detail };
}

/** FencedError unless the head's entry is this session's, in one of `states`. */
export function mustOwn(head: LedgerHead, session: WriteSession, states: readonly LedgerEntry['state'][]): void {
  const { entry } = head;
  if (entry === null || entry.fence !== session.fence || entry.jobId !== session.jobId || !states.includes(entry.state)) {
    throw fenced(session, entry);
  }
}

export function fenced(session: WriteSession, by: LedgerEntry | null = null): FencedError {
  const who = by === null ? 'a newer attempt' : `fence ${by.fence} (${by.state})`;
  return new FencedError(
    `Attempt ${session.attempt} of job ${session.jobId} no longer owns block ${session.blockId}: ${who} does.`,
  );
}

export function detailOf(entry: LedgerEntry): CommittedDetail {
  const detail = entry.detail as Partial<CommittedDetail>;
  const { size, chunkSize, rootDigest, storedBytes, meta } = detail;
  if (
    typeof size !== 'number' ||
    typeof chunkSize !== 'number' ||
    typeof rootDigest !== 'string' ||
    typeof storedBytes !== 'number' ||
    !isBlockShape(size, chunkSize)
  ) {
    throw new PermanentError('damaged_ledger', 'The ledger of a committed block lacks its size or digest; it is damaged.');
  }
  return { size, chunkSize, rootDigest, storedBytes, ...(meta === undefined ? {} : { meta }) };
}
