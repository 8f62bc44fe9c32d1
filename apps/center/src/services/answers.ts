/**
 * The answer of a use case, and the one transaction in which it is decided. With an Idempotency-Key in play, the answer
 * is stored under the key in that same transaction: a crash leaves both the change and its answer, or neither.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type DataSource, type EntityManager, inTransaction } from '@openservice/store';
import { invalidRequest, Refusal } from './refusal.ts';

export interface Answer {
  status: 200 | 201 | 202;
  body: Record<string, unknown>;
  /** A job's address, on 202. */
  location?: string;
}

/** An open row of idempotency_keys. `stamp` (its created_at) is the fence: whoever took the row over has a later one. */
export interface OpenKey {
  tokenId: string;
  key: string;
  stamp: Date;
  /** Set once a committed transaction has stored the answer. */
  recorded: boolean;
}

export const openKey = new AsyncLocalStorage<OpenKey>();

/** Stores `answer` under the request's key. Refusal `idempotency_in_progress` when another request took the key over. */
export async function recordAnswer(manager: EntityManager, key: OpenKey, answer: StoredAnswer): Promise<void> {
  const done = (await manager.query(
    `UPDATE idempotency_keys SET status = ?, headers = ?, body = ?
     WHERE token_id = ? AND idempotency_key = ? AND status IS NULL AND created_at = ?`,
    [answer.status, JSON.stringify(answer.headers), answer.body, key.tokenId, key.key, key.stamp],
  )) as { affectedRows: number };
  if (done.affectedRows !== 1) {
    throw new Refusal(
      'idempotency_in_progress',
      'Another request with this Idempotency-Key has taken over; ask again for its answer.',
    );
  }
}

export interface StoredAnswer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

export function toStored(answer: Answer): StoredAnswer {
  const headers: Record<string, string> = { 'Content-Type': 'application/json' };
  if (answer.location !== undefined) headers.Location = answer.location;
  return { status: answer.status, headers, body: JSON.stringify(answer.body) };
}

/** For an answer with a secret in it: an Idempotency-Key would keep it in the database, as it is. */
export function refuseKeptAnswer(): void {
  if (openKey.getStore() === undefined) return;
  const message = 'is not taken here: the answer holds a secret, which is not kept; leave it out';
  throw invalidRequest([{ path: 'header.Idempotency-Key', message }]);
}

/** Runs `work` in a transaction (perhaps again, after a deadlock) and keeps its answer with what it changed. */
export async function decide(database: DataSource, work: (manager: EntityManager) => Promise<Answer>): Promise<Answer> {
  const key = openKey.getStore();
  const answer = await inTransaction(database, async (manager) => {
    const decided = await work(manager);
    if (key !== undefined) await recordAnswer(manager, key, toStored(decided));
    return decided;
  });
  if (key !== undefined) key.recorded = true;
  return answer;
}

export const jobLocation = (jobId: string): string => `/openstore_v1/jobs/${jobId}`;
