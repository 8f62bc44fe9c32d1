/**
 * The packs and segments that a collection looks at, as they were listed when it began, and what it found out about each. A SQLite file
 * that goes with the collection: memory does not grow with the pool.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Backend } from '../../backend.ts';
import { nameIn, PACKS_PREFIX, SEGMENTS_PREFIX } from '../keys.ts';
import { HASH_BYTES } from '../segment.ts';
import { NameList } from './name-list.ts';

const CACHE_KIB = 8192;

export class Snapshot {
  readonly #database: DatabaseSync;
  readonly #file: string | null;
  readonly #mark: StatementSync;
  readonly #look: StatementSync;
  readonly #index: StatementSync;

  private constructor(database: DatabaseSync, file: string | null) {
    this.#database = database;
    this.#file = file;
    database.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;`);
    // kind: 0 segment, 1 pack, 2 referred to but not listed. condemned: 1 by this round, 2 deleted, 3 found in use after all.
    database.exec(`CREATE TABLE objects (
      name BLOB PRIMARY KEY, kind INTEGER NOT NULL, size INTEGER NOT NULL, pass INTEGER NOT NULL DEFAULT 0,
      condemned INTEGER NOT NULL DEFAULT 0, indexed INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID`);
    this.#mark = database.prepare(
      'INSERT INTO objects (name, kind, size, pass) VALUES (?, 2, 0, ?) ON CONFLICT (name) DO UPDATE SET pass = excluded.pass',
    );
    // One transaction that never ends: the file goes with the collection.
    database.exec('BEGIN');
    this.#look = database.prepare('SELECT kind, pass, condemned FROM objects WHERE name = ?');
    this.#index = database.prepare('UPDATE objects SET indexed = 1 WHERE name = ?');
  }

  /** Lists the pool. `cacheDir` left out: in memory. Close it. */
  static async take(backend: Backend, cacheDir: string | undefined, signal: AbortSignal): Promise<Snapshot> {
    let file: string | null = null;
    if (cacheDir !== undefined) {
      mkdirSync(cacheDir, { recursive: true, mode: 0o700 });
      file = join(cacheDir, `gc-${randomBytes(8).toString('hex')}.sqlite`);
    }
    const snapshot = new Snapshot(new DatabaseSync(file ?? ':memory:'), file);
    try {
      await snapshot.#fill(backend, signal);
      return snapshot;
    } catch (error) {
      snapshot.close();
      throw error;
    }
  }

  async #fill(backend: Backend, signal: AbortSignal): Promise<void> {
    const add = this.#database.prepare('INSERT OR IGNORE INTO objects (name, kind, size) VALUES (?, ?, ?)');
    for (const [prefix, kind] of [
      [PACKS_PREFIX, 1],
      [SEGMENTS_PREFIX, 0],
    ] as const) {
      for await (const { key, size } of backend.list(prefix, signal)) {
        const name = nameIn(key);
        // Anything else in there is not ours to judge.
        if (/^[0-9a-f]{64}$/.test(name)) add.run(Buffer.from(name, 'hex'), kind, size);
      }
    }
  }

  /** Something refers to it. Kept too where it was not listed: it is younger than the snapshot, or gone. */
  mark(name: Buffer, pass: number): void {
    this.#mark.run(name, pass);
  }

  isMarked(name: Buffer, pass: number): boolean {
    return (this.#look.get(name) as { pass: number } | undefined)?.pass === pass;
  }

  /** An index object names the pack. */
  indexed(name: Buffer): void {
    this.#index.run(name);
  }

  /** True, false, or null for what was neither listed nor referred to: younger than the snapshot, or gone. */
  isDead(name: Buffer): boolean | null {
    const row = this.#look.get(name) as { condemned: number } | undefined;
    return row === undefined ? null : row.condemned === 2;
  }

  /** False for what came after the snapshot, or went before it. */
  listed(name: Buffer): boolean {
    const row = this.#look.get(name) as { kind: number } | undefined;
    return row !== undefined && row.kind !== 2;
  }

  /** What pass 1 did not mark is condemned, `most` names at most. */
  condemn(most: number): NameList {
    const rest = 'SELECT name FROM objects WHERE pass = 0 AND condemned = 0 ORDER BY name LIMIT ?';
    this.#database.prepare(`UPDATE objects SET condemned = 1 WHERE name IN (${rest})`).run(most);
    return this.#names('condemned = 1');
  }

  /** What is condemned and was not marked by pass `pass` either. */
  sentence(pass: number): { names: NameList; bytes: number } {
    this.#database.prepare('UPDATE objects SET condemned = 3 WHERE condemned = 1 AND pass = ?').run(pass);
    const { bytes } = this.#database.prepare('SELECT COALESCE(SUM(size), 0) AS bytes FROM objects WHERE condemned = 1').get() as {
      bytes: number;
    };
    const names = this.#names('condemned = 1');
    this.#database.exec('UPDATE objects SET condemned = 2 WHERE condemned = 1');
    return { names, bytes };
  }

  /** How many objects nothing refers to that were not deleted. */
  kept(): number {
    const row = this.#database.prepare('SELECT COUNT(*) AS count FROM objects WHERE pass = 0 AND condemned < 2').get();
    return (row as { count: number }).count;
  }

  /** Bytes of all that stays. */
  liveBytes(): number {
    const row = this.#database.prepare('SELECT COALESCE(SUM(size), 0) AS bytes FROM objects WHERE condemned <> 2').get();
    return (row as { bytes: number }).bytes;
  }

  /** Packs that stay and that no index object names. */
  *unindexedPacks(): Generator<{ name: Buffer; size: number }> {
    const rows = this.#database.prepare(
      'SELECT name, size FROM objects WHERE kind = 1 AND pass > 0 AND condemned <> 2 AND indexed = 0',
    );
    for (const row of rows.iterate()) {
      const { name, size } = row as { name: Uint8Array; size: number };
      yield { name: Buffer.from(name), size };
    }
  }

  close(): void {
    this.#database.close();
    if (this.#file !== null) rmSync(this.#file, { force: true });
  }

  #names(where: 'condemned = 1'): NameList {
    const { count } = this.#database.prepare(`SELECT COUNT(*) AS count FROM objects WHERE ${where}`).get() as { count: number };
    const names = Buffer.alloc(count * HASH_BYTES);
    let at = 0;
    for (const row of this.#database.prepare(`SELECT name FROM objects WHERE ${where} ORDER BY name`).iterate()) {
      names.set((row as { name: Uint8Array }).name, at);
      at += HASH_BYTES;
    }
    return new NameList(names);
  }
}
