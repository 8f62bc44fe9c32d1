/**
 * What this node has been told and has done. Each method is one transaction, on the disk when it returns (TransientError
 * `journal_unwritable` when the disk does not take it, and nothing has changed), but for `begin` and `finish`: these survive a kill at once, and
 * a power cut after the next `sync`, which many share. Events are sent after it. A change of state and
 * the event that tells of it are never apart. A finished attempt stays as a tombstone, so that a command that comes again is
 * known; tombstones are swept after a week, long after any center would send it.
 */
import type { HeldAttempt, RunCommand } from '@openservice/protocol';
import {
  type AttemptKey,
  type AttemptRow,
  type AttemptState,
  type NewAttempt,
  type NewEvent,
  type Outcome,
  Rows,
  toAttempt,
} from './rows.ts';
import { Store } from './store.ts';
import { Wishes } from './wishes.ts';

export type { AttemptKey, AttemptRow, AttemptState, NewEvent, Outcome, Wish } from './rows.ts';

export interface OutboxRow extends AttemptKey {
  seq: number;
  type: string;
  payload: unknown;
  traceparent: string;
  /** Unix ms. */
  madeAt: number;
}

const TOMBSTONE_MS = 7 * 24 * 3600 * 1000;

export class Journal {
  readonly #store: Store;
  readonly #rows: Rows;
  /** To stop at a checkpoint. */
  readonly wishes: Wishes;

  constructor(dataDir: string) {
    this.#store = new Store(dataDir);
    this.#rows = new Rows(this.#store);
    this.wishes = new Wishes(this.#store, this.#rows);
  }

  /** False since a write failed (the disk is full, or broken) until one works again. */
  get healthy(): boolean {
    return this.#store.healthy;
  }

  /** All that `work` does here in one transaction: all of it, or, when it throws, nothing. One sync of the disk. */
  together<T>(work: () => T): T {
    return this.#store.write(work);
  }

  /** Sets the process's epoch: Unix ms, but always larger than any before on this data directory. */
  nextEpoch(now: number): number {
    return this.#store.write(() => {
      const last = this.#store.one("SELECT value FROM meta WHERE name = 'epoch'");
      const epoch = Math.max(now, Number(last?.value ?? 0) + 1);
      this.#store.run("INSERT OR REPLACE INTO meta (name, value) VALUES ('epoch', ?)", String(epoch));
      return epoch;
    });
  }

  /** Writes something that matters to nobody: does the disk take it? Also the moment to sweep. */
  tryWrite(now: number): void {
    this.#store.write(() => {
      this.#store.run("INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', ?)", String(now));
      this.#store.run(
        `DELETE FROM attempts WHERE state = 'finished' AND created_at < ?
         AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = attempts.job_id AND o.attempt = attempts.attempt)`,
        now - TOMBSTONE_MS,
      );
      this.wishes.sweep(now - TOMBSTONE_MS);
    });
  }

  /**
   * Takes a command to run. `known`: it was there, or a newer attempt was. `accepted`: it is new, its `accepted` event is in the
   * outbox, and the older attempts of the job are void: `voided` are those that had not ended.
   */
  accept(command: RunCommand, now: number): { verdict: 'known' | 'accepted'; voided: AttemptKey[] } {
    return this.#store.write(() => {
      const key = { jobId: command.job_id, attempt: command.attempt };
      if (this.#rows.newest(key.jobId) >= key.attempt) return { verdict: 'known', voided: [] };
      const { kind, fence, params, priority } = command.payload;
      const before = this.#store.one(
        'SELECT kind, checkpoint, outcome FROM attempts WHERE job_id = ? ORDER BY attempt DESC LIMIT 1',
        key.jobId,
      );
      // An attempt that was cleaned up left nothing that its checkpoint could speak of.
      const cleaned = before?.outcome === 'failed' || before?.outcome === 'cancelled';
      const checkpoint = before?.kind === kind && !cleaned ? (before.checkpoint as string | null) : null;
      const voided = this.#voidOlder(key);
      this.#rows.insert(key, { kind, fence, params, priority, traceparent: command.traceparent }, checkpoint, now);
      this.wishes.adopt(key);
      this.#rows.append(key, { type: 'accepted', payload: {} }, now);
      return { verdict: 'accepted', voided };
    });
  }

  /**
   * Takes a command to cancel. `cancelled`: nothing had begun, the event is in the outbox. `marked`: the attempt is to be ended
   * by whoever runs it, or must be run to be cleaned up; so must one that never came, where an attempt before it left what the next
   * would have gone on from. `ignored`: it has ended, is being committed, or is an old one.
   */
  cancel(
    key: AttemptKey,
    reason: string,
    traceparent: string,
    now: number,
  ): { verdict: 'cancelled' | 'marked' | 'ignored'; voided: AttemptKey[] } {
    return this.#store.write(() => {
      const row = this.get(key);
      if (row === null) {
        if (this.#rows.newest(key.jobId) > key.attempt) return { verdict: 'ignored', voided: [] };
        const before = this.#leftBefore(key.jobId);
        const voided = this.#voidOlder(key);
        if (before !== null) {
          this.#rows.insert(key, { ...before.what, traceparent }, before.checkpoint, now);
          this.#store.run('UPDATE attempts SET cancel = ? WHERE job_id = ? AND attempt = ?', reason, key.jobId, key.attempt);
          return { verdict: 'marked', voided };
        }
        this.#rows.insert(key, { kind: '', fence: 0, params: null, priority: 5, traceparent }, null, now);
        this.#rows.finish(key, 'cancelled', { type: 'cancelled', payload: { progress: null } }, now);
        return { verdict: 'cancelled', voided };
      }
      // A commit that the center refused because of this very cancel ended as void, and an attempt that was given back left what it had: it is
      // opened again to be cleaned up.
      const left = row.outcome === 'void' || row.outcome === 'yielded';
      const reopened = left && this.#rows.newest(key.jobId) === key.attempt;
      if (row.state === 'committing' || (row.state === 'finished' && !reopened)) return { verdict: 'ignored', voided: [] };
      this.#store.run(
        "UPDATE attempts SET cancel = ?, outcome = NULL, state = CASE state WHEN 'finished' THEN 'running' ELSE state END WHERE job_id = ? AND attempt = ?",
        reason,
        key.jobId,
        key.attempt,
      );
      return { verdict: 'marked', voided: [] };
    });
  }

  /** As `advance`, at the start of a run. After a power cut it begins again, and nobody has heard of the first time. */
  begin(key: AttemptKey, state: AttemptState | null, event: NewEvent, now: number): void {
    this.#store.writeUntold(() => this.advance(key, state, event, now));
  }

  /** Everything is on the disk when it returns. Call it before anybody hears of an event. */
  sync(): void {
    this.#store.sync();
  }

  /** Moves an attempt on and tells of it. FencedError when it has ended meanwhile: it was made void. */
  advance(key: AttemptKey, state: AttemptState | null, event: NewEvent | null, now: number): void {
    this.#store.write(() => {
      this.#rows.demandOpen(key);
      if (state !== null) this.#rows.setState(key, state);
      if (event !== null) this.#rows.append(key, event, now);
    });
  }

  /** FencedError as `advance`. A checkpoint's event that has not been sent (`unsent`) is replaced by the newer one. */
  checkpoint(key: AttemptKey, state: unknown, event: NewEvent | null, unsent: (seq: number) => boolean, now: number): void {
    this.#store.write(() => {
      this.#rows.demandOpen(key);
      this.#store.run(
        'UPDATE attempts SET checkpoint = ?, progress = coalesce(?, progress) WHERE job_id = ? AND attempt = ?',
        JSON.stringify(state),
        event === null ? null : JSON.stringify(event.payload),
        key.jobId,
        key.attempt,
      );
      if (event === null) return;
      const last = this.#store.one(
        'SELECT seq, type FROM outbox WHERE job_id = ? AND attempt = ? ORDER BY seq DESC LIMIT 1',
        key.jobId,
        key.attempt,
      );
      if (last?.type === event.type && unsent(Number(last.seq))) {
        this.#store.run(
          'UPDATE outbox SET payload = ?, made_at = ? WHERE job_id = ? AND attempt = ? AND seq = ?',
          JSON.stringify(event.payload),
          now,
          key.jobId,
          key.attempt,
          Number(last.seq),
        );
      } else {
        this.#rows.append(key, event, now);
      }
    });
  }

  /** Ends an attempt with its event. False, and nothing is written, when it had ended before. After a power cut it is run again, to the same end. */
  finish(key: AttemptKey, outcome: Exclude<Outcome, 'void'>, event: NewEvent, now: number): boolean {
    return this.#store.writeUntold(() => {
      const row = this.get(key);
      if (row === null || row.state === 'finished') return false;
      this.#rows.finish(key, outcome, event, now);
      return true;
    });
  }

  /** Ends an attempt without a word; what it had to say is dropped. */
  makeVoid(key: AttemptKey): void {
    this.#store.write(() => this.#rows.makeVoid(key));
  }

  /** Tells again where an attempt stands, for a center that lacks it and has said before that it had all. */
  tellAgain(key: AttemptKey, now: number): void {
    this.#store.write(() => {
      const row = this.get(key);
      const waiting = this.#store.one('SELECT 1 FROM outbox WHERE job_id = ? AND attempt = ? LIMIT 1', key.jobId, key.attempt);
      if (row === null || row.state === 'finished' || waiting !== undefined) return;
      this.#rows.append(key, this.#standing(row, now), now);
    });
  }

  /** The center has these events. */
  dropEvents(events: readonly (AttemptKey & { seq: number })[]): void {
    // What comes back after a power cut is sent again.
    this.#store.writeLazily(() => {
      for (const { jobId, attempt, seq } of events)
        this.#store.run('DELETE FROM outbox WHERE job_id = ? AND attempt = ? AND seq = ?', jobId, attempt, seq);
    });
  }

  /** The center has the end of the attempt: only its tombstone stays. */
  forget(key: AttemptKey): void {
    this.#store.write(() => {
      this.#rows.dropOutbox(key);
      this.#store.run(
        // What is left to go on from stays for the next attempt, whose command may come later than this verdict; or to be cleaned up, at a cancel.
        `UPDATE attempts SET outcome = coalesce(outcome, 'void'), state = 'finished',
           params = CASE WHEN outcome IN ('succeeded', 'failed', 'cancelled') THEN 'null' ELSE params END,
           checkpoint = CASE WHEN outcome IN ('succeeded', 'failed', 'cancelled') THEN NULL ELSE checkpoint END
         WHERE job_id = ? AND attempt = ?`,
        key.jobId,
        key.attempt,
      );
    });
  }

  get(key: AttemptKey): AttemptRow | null {
    return this.#rows.get(key);
  }

  /** Every attempt that has not ended, oldest first. */
  open(): AttemptRow[] {
    return this.#store.all("SELECT * FROM attempts WHERE state <> 'finished' ORDER BY created_at, job_id").map(toAttempt);
  }

  /** What the center must hear of: open attempts, and ended ones with events that it lacks. `limit` at most. */
  held(limit: number): HeldAttempt[] {
    return this.#store
      .all(
        `SELECT job_id, attempt, state FROM attempts a WHERE state <> 'finished'
       OR EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = a.job_id AND o.attempt = a.attempt) ORDER BY created_at LIMIT ?`,
        limit,
      )
      .map((row) => ({ job_id: String(row.job_id), attempt: Number(row.attempt), state: row.state as AttemptState }));
  }

  /** Events that the center lacks, in order within each attempt; `limit` at most. */
  events(limit: number): OutboxRow[] {
    return this.#store
      .all(
        `SELECT o.*, a.traceparent FROM outbox o JOIN attempts a USING (job_id, attempt) ORDER BY o.job_id, o.attempt, o.seq LIMIT ?`,
        limit,
      )
      .map((row) => ({
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
    this.#store.close();
  }

  #standing(row: AttemptRow, now: number): NewEvent {
    if (row.state === 'accepted') return { type: 'accepted', payload: {} };
    if (row.state === 'paused') return { type: 'paused', payload: { progress: this.#rows.progress(row) } };
    return { type: 'running', payload: { resumed: true, at: new Date(now).toISOString() } };
  }

  /** The newest attempt of the job, where it ended, or is, without having cleaned up or succeeded. */
  #leftBefore(jobId: string): { what: Omit<NewAttempt, 'traceparent'>; checkpoint: string | null } | null {
    const row = this.#store.one(
      'SELECT kind, fence, params, priority, checkpoint, outcome FROM attempts WHERE job_id = ? ORDER BY attempt DESC LIMIT 1',
      jobId,
    );
    const over = ['succeeded', 'failed', 'cancelled'];
    // A journal of before has forgotten the parameters.
    if (row === undefined || row.kind === '' || row.params === 'null' || over.includes(String(row.outcome))) return null;
    const params: unknown = JSON.parse(String(row.params));
    const what = { kind: String(row.kind), fence: Number(row.fence), params, priority: Number(row.priority) };
    return { what, checkpoint: row.checkpoint as string | null };
  }

  #voidOlder(key: AttemptKey): AttemptKey[] {
    const older = this.#store.all(
      "SELECT attempt FROM attempts WHERE job_id = ? AND attempt < ? AND state <> 'finished'",
      key.jobId,
      key.attempt,
    );
    const voided = older.map((row) => ({ jobId: key.jobId, attempt: Number(row.attempt) }));
    for (const old of voided) this.#rows.makeVoid(old);
    this.#store.run('DELETE FROM outbox WHERE job_id = ? AND attempt < ?', key.jobId, key.attempt);
    return voided;
  }
}
