/** Transactions on the journal's file. */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { FencedError, TransientError } from '@openservice/domain';
import { openJournalDatabase } from './database.ts';

export class Store {
  readonly #database: DatabaseSync;
  /** By their text: there are some dozen. */
  readonly #statements = new Map<string, StatementSync>();
  #healthy = true;
  /** Within a transaction. */
  #inside = false;
  /** Something was written that a power cut would undo, and must not be undone once it was told. */
  #unsynced = false;

  constructor(dataDir: string) {
    this.#database = openJournalDatabase(dataDir);
  }

  /** False since a write failed (the disk is full, or broken) until one works again. */
  get healthy(): boolean {
    return this.#healthy;
  }

  /**
   * All of `work`, on the disk when it returns, or nothing of it. TransientError `journal_unwritable` when the disk does not take it; a FencedError of `work` is
   * passed on. Inside another one's `work` it is a part of that.
   */
  write<T>(work: () => T): T {
    if (this.#inside) return work();
    this.#inside = true;
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      const answer = work();
      this.#database.exec('COMMIT');
      this.#unsynced = false;
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
        { cause: error },
      );
    } finally {
      this.#inside = false;
    }
  }

  /** As `write`, but a power cut may undo it, though a kill may not: for what is harmless to be done again. */
  writeLazily<T>(work: () => T): T {
    if (this.#inside) return work();
    const before = this.#unsynced;
    this.#database.exec('PRAGMA synchronous=NORMAL');
    try {
      return this.write(work);
    } finally {
      this.#unsynced = before;
      this.#database.exec('PRAGMA synchronous=FULL');
    }
  }

  /** As `writeLazily`, for what is harmless to be done again as long as nobody was told: call `sync` before. */
  writeUntold<T>(work: () => T): T {
    const answer = this.writeLazily(work);
    if (!this.#inside) this.#unsynced = true;
    return answer;
  }

  /** All that was written is on the disk when it returns: any write that is synced takes along what was written before. */
  sync(): void {
    if (this.#unsynced) this.write(() => this.run("INSERT OR REPLACE INTO meta (name, value) VALUES ('synced', '')"));
  }

  run(sql: string, ...values: SQLInputValue[]): void {
    this.#prepared(sql).run(...values);
  }

  one(sql: string, ...values: SQLInputValue[]): Record<string, unknown> | undefined {
    return this.#prepared(sql).get(...values);
  }

  all(sql: string, ...values: SQLInputValue[]): Record<string, unknown>[] {
    return this.#prepared(sql).all(...values);
  }

  close(): void {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  #prepared(sql: string): StatementSync {
    const there = this.#statements.get(sql);
    if (there !== undefined) return there;
    const made = this.#database.prepare(sql);
    this.#statements.set(sql, made);
    return made;
  }
}
