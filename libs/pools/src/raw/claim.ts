/**
 * Who writes a block: the ledger across processes, and a table of this process's writers, so that an older one finds out at its
 * very next call instead of at its next checkpoint.
 */
import { FencedError, PermanentError } from '@openservice/domain';
import type { Ledger, LedgerEntry, LedgerHead } from '../ledger.ts';
import type { WriteSession } from '../pool.ts';

export interface CommittedDetail {
  size: number;
  chunkSize: number;
  rootDigest: string;
  storedBytes: number;
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

/** Claims the block. Answers the entry of this same job when it has committed already, else null. */
export async function claim(ledger: Ledger, session: WriteSession, signal: AbortSignal): Promise<LedgerEntry | null> {
  const { before } = await ledger.advance(
    session.fence,
    ({ entry }) => {
      if (entry?.state !== 'committed') return entryOf(session, 'open', { size: session.size, chunkSize: session.chunkSize });
      if (entry.jobId === session.jobId) return null;
      throw new PermanentError('block_exists', `Block ${session.blockId} is in the pool already; job ${entry.jobId} wrote it.`);
    },
    signal,
  );
  return before.entry?.state === 'committed' ? before.entry : null;
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
  const { size, chunkSize, rootDigest, storedBytes } = detail;
  if (
    typeof size !== 'number' ||
    typeof chunkSize !== 'number' ||
    typeof rootDigest !== 'string' ||
    typeof storedBytes !== 'number'
  ) {
    throw new PermanentError('damaged_ledger', 'The ledger of a committed block lacks its size or digest; it is damaged.');
  }
  return { size, chunkSize, rootDigest, storedBytes };
}
