/**
 * The state of a pool's collection: a chain of create-if-absent entries like a block's ledger, so that of two collectors only one makes
 * the next step. The round grows with each condemnation.
 */
import { PermanentError } from '@openservice/domain';
import type { Backend } from '../../backend.ts';
import { Ledger, type LedgerEntry, type LedgerHead } from '../../ledger.ts';

export type GcState = 'idle' | 'condemned' | 'deleting';

export interface GcHead {
  /** Of the chain's last entry; 0: there was no collection yet. */
  number: number;
  round: number;
  state: GcState;
  jobId: string;
  /** Key of the list that this state is about; empty when idle. */
  list: string;
}

const PREFIX = 'gc';

export async function gcHead(backend: Backend, signal: AbortSignal): Promise<GcHead> {
  return headOf(await new Ledger(backend, PREFIX).head(signal));
}

/** Makes the step that follows `from`; null when somebody else made it first. */
export async function gcStep(
  backend: Backend,
  from: GcHead,
  next: Omit<GcHead, 'number'>,
  signal: AbortSignal,
): Promise<GcHead | null> {
  let lost = false;
  const entry: LedgerEntry = {
    state: 'open',
    fence: 0,
    jobId: next.jobId,
    attempt: 0,
    detail: { round: next.round, state: next.state, list: next.list },
  };
  const { after } = await new Ledger(backend, PREFIX).advance(
    0,
    (head) => {
      lost = head.number !== from.number;
      return lost ? null : entry;
    },
    signal,
  );
  return lost ? null : headOf(after);
}

function headOf({ number, entry }: LedgerHead): GcHead {
  if (entry === null) return { number, round: 0, state: 'idle', jobId: '', list: '' };
  const { round, state, list } = entry.detail;
  const known = state === 'idle' || state === 'condemned' || state === 'deleting';
  if (typeof round !== 'number' || !known)
    throw new PermanentError('damaged_collection', "The newest entry of the pool's collection (gc/) is damaged.");
  return { number, round, state, jobId: entry.jobId, list: String(list ?? '') };
}
