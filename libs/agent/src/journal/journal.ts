/**
 * What this node has been told and has done. Each method is one transaction, on the disk when it returns (TransientError
 * `journal_unwritable` when the disk does not take it, and nothing has changed): a change of state and
 * the event that tells of it are never apart. A finished attempt stays as a tombstone, so that a command that comes again is
 * known; tombstones are swept after a week, long after any center would send it.
 */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { FencedError, TransientError } from '@openservice/domain';
import type { HeldAttempt, RunCommand } from '@openservice/protocol';
import { openJournalDatabase } from './database.ts';

export type AttemptState = HeldAttempt['state'];

export interface AttemptKey {
  jobId: string;
  attempt: number;
}

export interface AttemptRow extends AttemptKey {
  kind: string;
  fence: number;
  params: unknown;
  traceparent: string;
  state: AttemptState;
  /** Why it is to be cancelled; null: it is not. */
  cancel: string | null;
  checkpoint: unknown;
  /** `void`: it ended without a word, since a newer attempt or the center's verdict made it so. */
  outcome: Outcome | null;
}

export type Outcome = 'succeeded' | 'failed' | 'failed_transient' | 'cancelled' | 'void';

export interface OutboxRow extends AttemptKey {
  seq: number;
  type: string;
  payload: unknown;
  traceparent: string;
  /** Unix ms. */
  madeAt: number;
}

export interface NewEvent {
  type: string;
  payload: unknown;
}

const TOMBSTONE_MS = 7 * 24 * 3600 * 1000;

export class Journal {
  readonly #database: DatabaseSync;
  #healthy = true;

  constructor(dataDir: string) {
    this.#database = openJournalDatabase(dataDir);
  }

  /** False since a write failed (the disk is full, or broken) until one works again. */
  get healthy(): boolean {
    return this.#healthy;
  }

  /** Sets the process's epoch: Unix ms, but always larger than any before on this data directory. */
  nextEpoch(now: number): number {
    return this.#write(() => {
      const last = this.#one("SELECT value FROM meta WHERE name = 'epoch'");
      const epoch = Math.max(now, Number(last?.value ?? 0) + 1);
      this.#run("INSERT OR REPLACE INTO meta (name, value) VALUES ('epoch', ?)", String(epoch));
      return epoch;
    });
  }

  /** Writes something that matters to nobody: does the disk take it? Also the moment to sweep. */
  tryWrite(now: number): void {
    this.#write(() => {
      this.#run("INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', ?)", String(now));
      this.#run(
        `DELETE FROM attempts WHERE state = 'finished' AND created_at < ?
         AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = attempts.job_id AND o.attempt = attempts.attempt)`,
        now - TOMBSTONE_MS,
      );
    });
  }

  /**
   * Takes a command to run. `known`: it was there, or a newer attempt was. `accepted`: it is new, its `accepted` event is in the
   * outbox, and the older attempts of the job are void: `voided` are those that had not ended.
   */
  accept(command: RunCommand, now: number): { verdict: 'known' | 'accepted'; voided: AttemptKey[] } {
    return this.#write(() => {
      const key = { jobId: command.job_id, attempt: command.attempt };
      if (this.#newest(key.jobId) >= key.attempt) return { verdict: 'known', voided: [] };
      const { kind, fence, params } = command.payload;
      const before = this.#one(
        'SELECT kind, checkpoint, outcome FROM attempts WHERE job_id = ? ORDER BY attempt DESC LIMIT 1',
        key.jobId,
      );
      // An attempt that was cleaned up left nothing that its checkpoint could speak of.
      const cleaned = before?.outcome === 'failed' || before?.outcome === 'cancelled';
      const checkpoint = before?.kind === kind && !cleaned ? (before.checkpoint as string | null) : null;
      const voided = this.#voidOlder(key);
      this.#insert(key, { kind, fence, params, traceparent: command.traceparent }, checkpoint, now);
      this.#append(key, { type: 'accepted', payload: {} }, now);
      return { verdict: 'accepted', voided };
    });
  }

  /**
   * Takes a command to cancel. `cancelled`: nothing had begun, the event is in the outbox. `marked`: the attempt is to be ended
   * by whoever runs it, or must be run to be cleaned up. `ignored`: it has ended, is being committed, or is an old one.
   */
  cancel(
    key: AttemptKey,
    reason: string,
    traceparent: string,
    now: number,
  ): { verdict: 'cancelled' | 'marked' | 'ignored'; voided: AttemptKey[] } {
    return this.#write(() => {
      const row = this.get(key);
      if (row === null) {
        if (this.#newest(key.jobId) > key.attempt) return { verdict: 'ignored', voided: [] };
        const voided = this.#voidOlder(key);
        this.#insert(key, { kind: '', fence: 0, params: null, traceparent }, null, now);
        this.#finish(key, 'cancelled', { type: 'cancelled', payload: { progress: null } }, now);
        return { verdict: 'cancelled', voided };
      }
      const refused = row.outcome === 'void' && this.#newest(key.jobId) === key.attempt;
      if (row.state === 'committing' || (row.state === 'finished' && !refused)) return { verdict: 'ignored', voided: [] };
      // A commit that the center refused because of this very cancel ended as void: it is opened again to be cleaned up.
      this.#run(
        "UPDATE attempts SET cancel = ?, outcome = NULL, state = CASE state WHEN 'finished' THEN 'running' ELSE state END WHERE job_id = ? AND attempt = ?",
        reason,
        key.jobId,
        key.attempt,
      );
      return { verdict: 'marked', voided: [] };
    });
  }

  /** Moves an attempt on and tells of it. FencedError when it has ended meanwhile: it was made void. */
  advance(key: AttemptKey, state: AttemptState | null, event: NewEvent | null, now: number): void {
    this.#write(() => {
      this.#demandOpen(key);
      if (state !== null)
        this.#run('UPDATE attempts SET state = ? WHERE job_id = ? AND attempt = ?', state, key.jobId, key.attempt);
      if (event !== null) this.#append(key, event, now);
    });
  }

  /** FencedError as `advance`. A checkpoint's event that has not been sent (`unsent`) is replaced by the newer one. */
  checkpoint(key: AttemptKey, state: unknown, event: NewEvent | null, unsent: (seq: number) => boolean, now: number): void {
    this.#write(() => {
      this.#demandOpen(key);
      this.#run(
        'UPDATE attempts SET checkpoint = ? WHERE job_id = ? AND attempt = ?',
        JSON.stringify(state),
        key.jobId,
        key.attempt,
      );
      if (event === null) return;
      const last = this.#one(
        'SELECT seq, type FROM outbox WHERE job_id = ? AND attempt = ? ORDER BY seq DESC LIMIT 1',
        key.jobId,
        key.attempt,
      );
      if (last?.type === event.type && unsent(Number(last.seq))) {
        this.#run(
          'UPDATE outbox SET payload = ?, made_at = ? WHERE job_id = ? AND attempt = ? AND seq = ?',
          JSON.stringify(event.payload),
          now,
          key.jobId,
          key.attempt,
          Number(last.seq),
        );
      } else {
        this.#append(key, event, now);
      }
    });
  }

  /** Ends an attempt with its event. False, and nothing is written, when it had ended before. */
  finish(key: AttemptKey, outcome: Exclude<Outcome, 'void'>, event: NewEvent, now: number): boolean {
    return this.#write(() => {
      const row = this.get(key);
      if (row === null || row.state === 'finished') return false;
      this.#finish(key, outcome, event, now);
      return true;
    });
  }

  /** Ends an attempt without a word; what it had to say is dropped. */
  makeVoid(key: AttemptKey): void {
    this.#write(() => this.#void(key));
  }

  /** Tells again where an attempt stands, for a center that lacks it and has said before that it had all. */
  tellAgain(key: AttemptKey, now: number): void {
    this.#write(() => {
      const row = this.get(key);
      const waiting = this.#one('SELECT 1 FROM outbox WHERE job_id = ? AND attempt = ? LIMIT 1', key.jobId, key.attempt);
      if (row === null || row.state === 'finished' || waiting !== undefined) return;
      const at = new Date(now).toISOString();
      this.#append(
        key,
        row.state === 'accepted' ? { type: 'accepted', payload: {} } : { type: 'running', payload: { resumed: true, at } },
        now,
      );
    });
  }

  /** The center has these events. */
  dropEvents(events: readonly (AttemptKey & { seq: number })[]): void {
    this.#write(() => {
      for (const { jobId, attempt, seq } of events)
        this.#run('DELETE FROM outbox WHERE job_id = ? AND attempt = ? AND seq = ?', jobId, attempt, seq);
    });
  }

  /** The center has the end of the attempt: only its tombstone stays. */
  forget(key: AttemptKey): void {
    this.#write(() => {
      this.#run('DELETE FROM outbox WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
      this.#run(
        // What is left to go on from stays for the next attempt, whose command may come later than this verdict.
        `UPDATE attempts SET outcome = coalesce(outcome, 'void'), state = 'finished', params = 'null',
           checkpoint = CASE WHEN outcome IN ('succeeded', 'failed', 'cancelled') THEN NULL ELSE checkpoint END
         WHERE job_id = ? AND attempt = ?`,
        key.jobId,
        key.attempt,
      );
    });
  }

  get(key: AttemptKey): AttemptRow | null {
    const row = this.#one('SELECT * FROM attempts WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
    return row === undefined ? null : toAttempt(row);
  }

  /** Every attempt that has not ended, oldest first. */
  open(): AttemptRow[] {
    return this.#all("SELECT * FROM attempts WHERE state <> 'finished' ORDER BY created_at, job_id").map(toAttempt);
  }

  /** What the center must hear of: open attempts, and ended ones with events that it lacks. `limit` at most. */
  held(limit: number): HeldAttempt[] {
    return this.#all(
      `SELECT job_id, attempt, state FROM attempts a WHERE state <> 'finished'
       OR EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = a.job_id AND o.attempt = a.attempt) ORDER BY created_at LIMIT ?`,
      limit,
    ).map((row) => ({ job_id: String(row.job_id), attempt: Number(row.attempt), state: row.state as AttemptState }));
  }

  /** Events that the center lacks, in order within each attempt; `limit` at most. */
  events(limit: number): OutboxRow[] {
    return this.#all(
      `SELECT o.*, a.traceparent FROM outbox o JOIN attempts a USING (job_id, attempt) ORDER BY o.job_id, o.attempt, o.seq LIMIT ?`,
      limit,
    ).map((row) => ({
      jobId: String(row.job_id),
      attempt: Number(row.attempt),
      seq: Number(row.seq),
      type: String(row.type),
      payload: JSON.parse(String(row.payload)) as unknown,
      traceparent: String(row.traceparent),
      madeAt: Number(row.made_at),
    }));
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #newest(jobId: string): number {
    return Number(this.#one('SELECT max(attempt) AS newest FROM attempts WHERE job_id = ?', jobId)?.newest ?? 0);
  }

  #voidOlder(key: AttemptKey): AttemptKey[] {
    const older = this.#all(
      "SELECT attempt FROM attempts WHERE job_id = ? AND attempt < ? AND state <> 'finished'",
      key.jobId,
      key.attempt,
    );
    const voided = older.map((row) => ({ jobId: key.jobId, attempt: Number(row.attempt) }));
    for (const old of voided) this.#void(old);
    this.#run('DELETE FROM outbox WHERE job_id = ? AND attempt < ?', key.jobId, key.attempt);
    return voided;
  }

  #void(key: AttemptKey): void {
    this.#run(
      "UPDATE attempts SET state = 'finished', outcome = 'void' WHERE job_id = ? AND attempt = ? AND state <> 'finished'",
      key.jobId,
      key.attempt,
    );
    this.#run('DELETE FROM outbox WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
  }

  #insert(
    key: AttemptKey,
    what: { kind: string; fence: number; params: unknown; traceparent: string },
    checkpoint: string | null,
    now: number,
  ): void {
    this.#run(
      `INSERT INTO attempts (job_id, attempt, kind, fence, params, traceparent, state, checkpoint, seq, created_at)
       VALUES (?, ?, ?, ?, ?, ?, 'accepted', ?, 0, ?)`,
      key.jobId,
      key.attempt,
      what.kind,
      what.fence,
      JSON.stringify(what.params),
      what.traceparent,
      checkpoint,
      now,
    );
  }

  #finish(key: AttemptKey, outcome: Outcome, event: NewEvent, now: number): void {
    this.#run(
      "UPDATE attempts SET state = 'finished', outcome = ? WHERE job_id = ? AND attempt = ?",
      outcome,
      key.jobId,
      key.attempt,
    );
    this.#append(key, event, now);
  }

  #append(key: AttemptKey, event: NewEvent, now: number): void {
    this.#run('UPDATE attempts SET seq = seq + 1 WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
    this.#run(
      `INSERT INTO outbox (job_id, attempt, seq, type, payload, made_at)
       SELECT job_id, attempt, seq, ?, ?, ? FROM attempts WHERE job_id = ? AND attempt = ?`,
      event.type,
      JSON.stringify(event.payload),
      now,
      key.jobId,
      key.attempt,
    );
  }

  #demandOpen(key: AttemptKey): void {
    const row = this.get(key);
    if (row === null || row.state === 'finished')
      throw new FencedError(`Attempt ${key.attempt} of job ${key.jobId} is void on this node.`);
  }

  #write<T>(work: () => T): T {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      const answer = work();
      this.#database.exec('COMMIT');
      this.#healthy = true;
      return answer;
    } catch (error) {
      if (this.#database.isOpen && this.#database.isTransaction) this.#database.exec('ROLLBACK');
      if (error instanceof FencedError) throw error;
      this.#healthy = false;
      const why = error instanceof Error ? error.message : String(error);
      throw new TransientError(
        'journal_unwritable',
        `The node's journal cannot be written (${why}); make room on its data directory.`,
        {
          cause: error,
        },
      );
    }
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#database.prepare(sql).run(...values);
  }

  #one(sql: string, ...values: SQLInputValue[]): Record<string, unknown> | undefined {
    return this.#database.prepare(sql).get(...values);
  }

  #all(sql: string, ...values: SQLInputValue[]): Record<string, unknown>[] {
    return this.#database.prepare(sql).all(...values);
  }
}

function toAttempt(row: Record<string, unknown>): AttemptRow {
  return {
    jobId: String(row.job_id),
    attempt: Number(row.attempt),
    kind: String(row.kind),
    fence: Number(row.fence),
    params: JSON.parse(String(row.params)) as unknown,
    traceparent: String(row.traceparent),
    state: row.state as AttemptState,
    cancel: row.cancel === null ? null : String(row.cancel),
    checkpoint: row.checkpoint === null ? null : (JSON.parse(String(row.checkpoint)) as unknown),
    outcome: row.outcome as Outcome | null,
  };
}
