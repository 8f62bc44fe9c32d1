/**
 * The journal's file: SQLite, every commit synced to the disk, held by one process alone.
 *
 * The lock is SQLite's own (released by the kernel when the process dies, however it dies). While it is held no other process
 * can run this node's attempts, which is why a lock in Redis that was lost stops nothing (queue.ts).
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { PermanentError } from '@openservice/domain';

const SCHEMA = `
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS attempts (
  job_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  kind TEXT NOT NULL,
  fence INTEGER NOT NULL,
  params TEXT NOT NULL,
  traceparent TEXT NOT NULL,
  state TEXT NOT NULL,
  cancel TEXT,
  checkpoint TEXT,
  outcome TEXT,
  seq INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  wish TEXT,
  priority INTEGER NOT NULL DEFAULT 5,
  progress TEXT,
  told_seq INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_open ON attempts (state) WHERE state <> 'finished';
CREATE TABLE IF NOT EXISTS outbox (
  job_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  type TEXT NOT NULL,
  payload TEXT NOT NULL,
  made_at INTEGER NOT NULL,
  PRIMARY KEY (job_id, attempt, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wishes (
  job_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  wish TEXT NOT NULL,
  made_at INTEGER NOT NULL,
  PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;
`;

/** Columns of `attempts` that journals of earlier versions lack. */
const ADDED: Readonly<Record<string, string>> = {
  wish: 'TEXT',
  priority: 'INTEGER NOT NULL DEFAULT 5',
  progress: 'TEXT',
  told_seq: 'INTEGER NOT NULL DEFAULT 0',
};

/** PermanentError `data_dir_in_use` while another process holds it, `data_dir_unusable` when it cannot be written. */
export function openJournalDatabase(dataDir: string): DatabaseSync {
  const path = join(dataDir, 'journal.db');
  try {
    mkdirSync(dataDir, { recursive: true });
    const database = new DatabaseSync(path);
    try {
      database.exec('PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;');
      database.exec(`BEGIN EXCLUSIVE; ${SCHEMA}`);
      const there = new Set(
        database
          .prepare('PRAGMA table_info(attempts)')
          .all()
          .map(({ name }) => String(name)),
      );
      for (const [name, type] of Object.entries(ADDED))
        if (!there.has(name)) database.exec(`ALTER TABLE attempts ADD COLUMN ${name} ${type}`);
      database.exec('COMMIT');
    } catch (error) {
      database.close();
      throw error;
    }
    return database;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    if (/locked|busy/i.test(why)) {
      throw new PermanentError(
        'data_dir_in_use',
        `Another node process uses ${dataDir}; stop it, or give this one its own directory.`,
        { cause },
      );
    }
    throw new PermanentError(
      'data_dir_unusable',
      `The journal ${path} cannot be opened (${why}); see the directory's owner, mode and space.`,
      {
        cause,
      },
    );
  }
}
