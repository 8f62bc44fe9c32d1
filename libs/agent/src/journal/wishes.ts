/**
 * What people want of attempts that run: to stop at the next checkpoint. A wish is on the disk before its command is acknowledged, so a
 * restart between the command and the checkpoint changes nothing. It is honoured once, by whoever runs the attempt, or would run it.
 *
 * Of two wishes the one to yield wins: the attempt leaves this node either way. A pause is taken back by `resume`, a yield by nobody.
 */
import type { AttemptKey, AttemptRow, AttemptState, Rows, Wish } from './rows.ts';
import type { Store } from './store.ts';

/** Where a command stood in the stream. `again`: it was delivered before, so later ones may have overtaken it. */
export interface Place {
  seq: number;
  again: boolean;
}

export class Wishes {
  readonly #store: Store;
  readonly #rows: Rows;

  constructor(store: Store, rows: Rows) {
    this.#store = store;
    this.#rows = rows;
  }

  /**
   * `marked`: the attempt stops at its next checkpoint, or before it begins. `kept`: it is not known here; the wish waits for it, since its
   * command to run may have to come again (one that could not be journalled does) and must not run through then. `ignored`: it has ended,
   * is past stopping, is to be cancelled, stands already, or is an old one; or a later word on it was taken before this one.
   */
  want(key: AttemptKey, wish: Wish, place: Place, now: number): 'marked' | 'kept' | 'ignored' {
    return this.#store.write(() => {
      const row = this.#rows.get(key);
      if (row === null) return this.#keep(key, wish, now);
      if (this.#isOvertaken(key, place)) return 'ignored';
      const stops = row.state === 'accepted' || row.state === 'running' || (row.state === 'paused' && wish === 'yield');
      if (!stops || row.cancel !== null) return 'ignored';
      if (row.wish !== 'yield') this.#set(key, wish);
      return 'marked';
    });
  }

  /** `resumed`: it was paused, and is to run again. `taken_back`: it had not stopped yet. */
  resume(key: AttemptKey, place: Place): 'resumed' | 'taken_back' | 'ignored' {
    return this.#store.write(() => {
      this.#store.run("DELETE FROM wishes WHERE job_id = ? AND attempt = ? AND wish = 'pause'", key.jobId, key.attempt);
      const row = this.#rows.get(key);
      if (row === null || this.#isOvertaken(key, place) || row.cancel !== null || row.wish === 'yield') return 'ignored';
      if (row.state === 'paused') {
        this.#rows.setState(key, 'running');
        return 'resumed';
      }
      if (row.wish === null) return 'ignored';
      this.#set(key, null);
      return 'taken_back';
    });
  }

  /**
   * Called where the attempt has stopped: its state and the event that tells of it, in one. Null, and nothing is written, when there is no
   * wish (any more) that can be honoured. `progress`: null where none was made in this run; the last one before is told then.
   */
  honour(key: AttemptKey, progress: unknown, now: number): 'paused' | 'yielded' | null {
    return this.#store.write(() => {
      const row = this.#rows.get(key);
      if (row === null || !hasWish(row)) return null;
      const payload = { progress: progress ?? this.#rows.progress(key) };
      const wish = row.wish;
      this.#set(key, null);
      if (wish === 'yield') {
        this.#rows.finish(key, 'yielded', { type: 'yielded', payload }, now);
        return 'yielded';
      }
      this.#rows.setState(key, 'paused');
      this.#rows.append(key, { type: 'paused', payload }, now);
      return 'paused';
    });
  }

  /** The wish that came before the attempt, as it is accepted; those of older attempts go. Called inside a transaction. */
  adopt(key: AttemptKey): void {
    const kept = this.#store.one('SELECT wish FROM wishes WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
    if (kept !== undefined) this.#set(key, kept.wish as Wish);
    this.#store.run('DELETE FROM wishes WHERE job_id = ? AND attempt <= ?', key.jobId, key.attempt);
  }

  /** Called inside a transaction. `before`: Unix ms. */
  sweep(before: number): void {
    this.#store.run('DELETE FROM wishes WHERE made_at < ?', before);
  }

  /**
   * Notes that this command was taken. One that was journalled and not acknowledged, or could not be journalled, comes again behind those
   * after it: the older word must not win. The number is looked at for such alone, since a stream that is made anew counts from 1.
   */
  #isOvertaken(key: AttemptKey, { seq, again }: Place): boolean {
    const last = this.#store.one('SELECT told_seq FROM attempts WHERE job_id = ? AND attempt = ?', key.jobId, key.attempt);
    if (again && seq < Number(last?.told_seq ?? 0)) return true;
    this.#store.run('UPDATE attempts SET told_seq = ? WHERE job_id = ? AND attempt = ?', seq, key.jobId, key.attempt);
    return false;
  }

  #keep(key: AttemptKey, wish: Wish, now: number): 'kept' | 'ignored' {
    if (this.#rows.newest(key.jobId) > key.attempt) return 'ignored';
    this.#store.run(
      `INSERT INTO wishes (job_id, attempt, wish, made_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (job_id, attempt) DO UPDATE SET wish = CASE wish WHEN 'yield' THEN wish ELSE excluded.wish END`,
      key.jobId,
      key.attempt,
      wish,
      now,
    );
    return 'kept';
  }

  #set(key: AttemptKey, wish: Wish | null): void {
    this.#store.run('UPDATE attempts SET wish = ? WHERE job_id = ? AND attempt = ?', wish, key.jobId, key.attempt);
  }
}

/** True when the attempt is to stop now, where it stands. Past `preparing` nobody stops it, and a cancel goes first. */
export function hasWish(row: { state: AttemptState; cancel: string | null; wish: Wish | null }): boolean {
  if (row.cancel !== null || row.wish === null) return false;
  return row.state === 'accepted' || row.state === 'running' || (row.state === 'paused' && row.wish === 'yield');
}

/** True when nobody should run it: it waits for a person. */
export function isAtRest(row: Pick<AttemptRow, 'state' | 'cancel' | 'wish'>): boolean {
  return row.state === 'paused' && row.cancel === null && row.wish === null;
}
