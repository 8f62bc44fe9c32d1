/** The journal's rows and the steps that its transactions are made of; each is called inside one. */
import { FencedError } from '@openservice/domain';
import type { HeldAttempt } from '@openservice/protocol';
import type { Store } from './store.ts';

export type AttemptState = HeldAttempt['state'];

export interface AttemptKey {
  jobId: string;
  attempt: number;
}

/** What is to become of an attempt at its next checkpoint: kept here for later, or given back to the center. */
export type Wish = 'pause' | 'yield';

export interface AttemptRow extends AttemptKey {
  kind: string;
  fence: number;
  params: unknown;
  traceparent: string;
  state: AttemptState;
  /** 1 runs before 9. */
  priority: number;
  /** Why it is to be cancelled; null: it is not. */
  cancel: string | null;
  /** Null: it is to go on. */
  wish: Wish | null;
  checkpoint: unknown;
  /** `void`: it ended without a word, since a newer attempt or the center's verdict made it so. */
  outcome: Outcome | null;
}

export type Outcome = 'succeeded' | 'failed' | 'failed_transient' | 'cancelled' | 'yielded' | 'void';

export interface NewEvent {
  type: string;
  payload: unknown;
}

export interface NewAttempt {
  kind: string;
  fence: number;
  params: unknown;
  traceparent: string;
  priority: number;
}

export class Rows {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  get(key: AttemptKey): AttemptRow | null {
    const row = this.#store.one('SELECT * FROM attempts WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
    return row === undefined ? null : toAttempt(row);
  }

  /** The highest attempt of the job that is known; 0: none. */
  newest(jobId: string): number {
    return Number(this.#store.one('SELECT max(attempt) AS newest FROM attempts WHERE job_id = ?', jobId)?.newest ?? 0);
  }

  /** `checkpoint`: JSON. */
  insert(key: AttemptKey, what: NewAttempt, checkpoint: string | null, now: number): void {
    this.#store.run(
      `INSERT INTO attempts (job_id, attempt, kind, fence, params, traceparent, priority, state, checkpoint, seq, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, 'accepted', ?, 0, ?)`,
      key.jobId,
      key.attempt,
      what.kind,
      what.fence,
      JSON.stringify(what.params),
      what.traceparent,
      what.priority,
      checkpoint,
      now,
    );
  }

  /** One that comes to prepare is past stopping: what was wanted of it is over. */
  setState(key: AttemptKey, state: AttemptState): void {
    const goesOn = state === 'preparing' || state === 'committing' ? ', wish = NULL' : '';
    this.#store.run(`UPDATE attempts SET state = ?${goesOn} WHERE job_id = ? AND attempt = ?`, state, key.jobId, key.attempt);
  }

  finish(key: AttemptKey, outcome: Outcome, event: NewEvent, now: number): void {
    this.#store.run(
      "UPDATE attempts SET state = 'finished', outcome = ? WHERE job_id = ? AND attempt = ?",
      outcome,
      key.jobId,
      key.attempt,
    );
    this.append(key, event, now);
  }

  append(key: AttemptKey, event: NewEvent, now: number): void {
    this.#store.run('UPDATE attempts SET seq = seq + 1 WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
    this.#store.run(
      `INSERT INTO outbox (job_id, attempt, seq, type, payload, made_at)
       SELECT job_id, attempt, seq, ?, ?, ? FROM attempts WHERE job_id = ? AND attempt = ?`,
      event.type,
      JSON.stringify(event.payload),
      now,
      key.jobId,
      key.attempt,
    );
  }

  makeVoid(key: AttemptKey): void {
    this.#store.run(
      "UPDATE attempts SET state = 'finished', outcome = 'void' WHERE job_id = ? AND attempt = ? AND state <> 'finished'",
      key.jobId,
      key.attempt,
    );
    this.dropOutbox(key);
  }

  dropOutbox(key: AttemptKey): void {
    this.#store.run('DELETE FROM outbox WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
  }

  /** What was last told of the bytes, by this attempt; null: nothing. */
  progress(key: AttemptKey): unknown {
    const row = this.#store.one('SELECT progress FROM attempts WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
    return typeof row?.progress === 'string' ? (JSON.parse(row.progress) as unknown) : null;
  }

  /** FencedError when it has ended. */
  demandOpen(key: AttemptKey): void {
    const row = this.get(key);
    if (row === null || row.state === 'finished')
      throw new FencedError(`Attempt ${key.attempt} of job ${key.jobId} is void on this node.`);
  }
}

export function toAttempt(row: Record<string, unknown>): AttemptRow {
  return {
    jobId: String(row.job_id),
    attempt: Number(row.attempt),
    kind: String(row.kind),
    fence: Number(row.fence),
    params: JSON.parse(String(row.params)) as unknown,
    traceparent: String(row.traceparent),
    state: row.state as AttemptState,
    priority: Number(row.priority),
    cancel: row.cancel === null ? null : String(row.cancel),
    wish: row.wish as Wish | null,
    checkpoint: row.checkpoint === null ? null : (JSON.parse(String(row.checkpoint)) as unknown),
    outcome: row.outcome as Outcome | null,
  };
}
