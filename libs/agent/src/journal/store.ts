/** Transactions on the journal's file. */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { FencedError, TransientError } from '@openservice/domain';
import { openJournalDatabase } from './database.ts';

export class Store {
  readonly #database: DatabaseSync;
  #healthy = true;

  constructor(dataDir: string) {
    this.#database = openJournalDatabase(dataDir);
  }

  /** False since a write failed (the disk is full, or broken) until one works again. */
  get healthy(): boolean {
    return this.#healthy;
  }

  /**
   * All of `work`, on the disk when it returns, or nothing of it. TransientError `journal_unwritable` when the disk does not take it; a FencedError of `work` is
   * passed on.
   */
  write<T>(work: () => T): T {
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
        { cause: error },
      );
    }
  }

  run(sql: string, ...values: SQLInputValue[]): void {
    this.#database.prepare(sql).run(...values);
  }

  one(sql: string, ...values: SQLInputValue[]): Record<string, unknown> | undefined {
    return this.#database.prepare(sql).get(...values);
  }

  all(sql: string, ...values: SQLInputValue[]): Record<string, unknown>[] {
    return this.#database.prepare(sql).all(...values);
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }
}
