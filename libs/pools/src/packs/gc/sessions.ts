/** Sessions that were open when a round was published: the collector waits until each has said that it knows, or has ended. */
import type { Backend } from '../../backend.ts';
import { Ledger } from '../../ledger.ts';
import { ledgerPrefix } from '../keys.ts';
import { sideBySide } from '../side-by-side.ts';
import { ackKey } from './keys.ts';
import { blockIds } from './mark.ts';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;

interface OpenSession {
  blockId: string;
  fence: number;
  jobId: string;
  attempt: number;
}

export type Wait = (ms: number, signal: AbortSignal) => Promise<void>;

/** Answers the sessions that neither said so nor ended within `limit` ms (of waiting: the looks themselves are not counted). */
export async function awaitSessions(
  backend: Backend,
  round: number,
  limit: number,
  wait: Wait,
  signal: AbortSignal,
): Promise<string[]> {
  let waiting: OpenSession[] = [];
  await sideBySide(blockIds(backend, signal), async (blockId) => {
    const session = await openSession(backend, blockId, signal);
    if (session !== null) waiting.push(session);
  });
  let pause = FIRST_PAUSE_MS;
  for (let waited = 0; ; waited += pause, pause = Math.min(LONGEST_PAUSE_MS, pause * 2)) {
    const still: OpenSession[] = [];
    await sideBySide(waiting, async (session) => {
      if (!(await isOver(backend, round, session, signal))) still.push(session);
    });
    waiting = still;
    if (waiting.length === 0 || waited >= limit) break;
    await wait(pause, signal);
  }
  return waiting.map(({ blockId, jobId, attempt }) => `block ${blockId}, written by attempt ${attempt} of job ${jobId}`).sort();
}

async function openSession(backend: Backend, blockId: string, signal: AbortSignal): Promise<OpenSession | null> {
  const { entry } = await new Ledger(backend, ledgerPrefix(blockId)).head(signal);
  if (entry?.state !== 'open') return null;
  return { blockId, fence: entry.fence, jobId: entry.jobId, attempt: entry.attempt };
}

/** A session that another one followed is over: the new one was registered after the round was published, so it knows. */
async function isOver(backend: Backend, round: number, session: OpenSession, signal: AbortSignal): Promise<boolean> {
  if ((await backend.head(ackKey(round, session.blockId, session.fence), signal)) !== null) return true;
  const now = await openSession(backend, session.blockId, signal);
  return now === null || now.fence !== session.fence;
}
