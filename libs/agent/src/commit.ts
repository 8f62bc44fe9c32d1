/** The node's half of the two-step commit. */
import { FencedError, PermanentError } from '@openservice/domain';
import type { JobResult } from '@openservice/protocol';
import { Backoff, callCenter, failpoint, type Logger, orAborted } from '@openservice/runtime';
import type { NatsConnection } from 'nats';
import type { AttemptRow, Journal } from './journal/journal.ts';

const CALL_MS = 5000;

export interface CommitOptions {
  nc: NatsConnection;
  nodeId: string;
  journal: Journal;
  log: Logger;
}

/**
 * Resolves when the center has granted the commit and that is journalled; at once where it was journalled before. Waits while no
 * center answers. FencedError when the center refuses; the signal's reason when it fires first.
 */
export async function requestCommit(
  options: CommitOptions,
  row: AttemptRow,
  result: JobResult,
  signal: AbortSignal,
): Promise<void> {
  const { nc, nodeId, journal, log } = options;
  if (journal.get(row)?.state === 'committing') return;
  journal.advance(row, 'preparing', null, Date.now());
  await failpoint('agent.prepared');
  const request = { job_id: row.jobId, attempt: row.attempt, fence: row.fence, result };
  const backoff = new Backoff({ minMs: 100, maxMs: 5000 });
  for (;;) {
    signal.throwIfAborted();
    try {
      const { granted, reason } = await orAborted(callCenter(nc, nodeId, 'prepare', request, { timeoutMs: CALL_MS }), signal);
      if (!granted) throw new FencedError(`The center refused the commit: ${reason}`);
      break;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof FencedError || error instanceof PermanentError) throw error;
      log.warn({ err: error }, 'No center answers the request to commit; asking on.');
      await backoff.wait(signal);
    }
  }
  journal.advance(row, 'committing', null, Date.now());
  await failpoint('agent.granted');
}
