/**
 * Where the pool's chunks lie, as far as this node has read the pool's index: a SQLite file that may be lost or stale at any time without
 * harm, because a hit counts only after its pack was seen to exist. Paged: memory does not grow with the pool.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { OpenServiceError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { ObjectNotFoundError } from '../backend.ts';
import { decodeIndexObject, type IndexObject } from './index-object.ts';
import { INDEX_PREFIX } from './keys.ts';

const CACHE_KIB = 8192;
/** Index objects fetched at once; each is about 3 MiB at most. */
const FETCHING = 4;
const VERSION = 1;

const TABLES = `
  CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS packs (number INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, size INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS chunks (id BLOB PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS segments (content BLOB PRIMARY KEY, digests BLOB NOT NULL, locations BLOB NOT NULL) WITHOUT ROWID;
`;

export interface IndexedPack {
  /** This cache's number for it. */
  number: number;
  name: Buffer;
  /** Bytes. */
  size: number;
}

export interface IndexedChunk {
  pack: number;
  offset: number;
  length: number;
}

export class IndexCache {
  readonly #database: DatabaseSync;
  readonly #statements: Record<'seen' | 'see' | 'addPack' | 'packNumber' | 'addChunk' | 'addSegment', StatementSync>;
  readonly #chunk: StatementSync;
  readonly #pack: StatementSync;
  readonly #packByName: StatementSync;
  readonly #segment: StatementSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
    database.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;`);
    database.exec('PRAGMA busy_timeout = 5000; PRAGMA mmap_size = 0;');
    database.exec(TABLES);
    const prepare = (sql: string): StatementSync => database.prepare(sql);
    this.#statements = {
      seen: prepare('SELECT 1 FROM objects WHERE key = ?'),
      see: prepare('INSERT OR IGNORE INTO objects (key) VALUES (?)'),
      addPack: prepare('INSERT INTO packs (name, size) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET size = excluded.size'),
      packNumber: prepare('SELECT number FROM packs WHERE name = ?'),
      addChunk: prepare('INSERT OR REPLACE INTO chunks (id, pack, offset, length) VALUES (?, ?, ?, ?)'),
      addSegment: prepare('INSERT OR REPLACE INTO segments (content, digests, locations) VALUES (?, ?, ?)'),
    };
    this.#chunk = prepare('SELECT pack, offset, length FROM chunks WHERE id = ?');
    this.#pack = prepare('SELECT number, name, size FROM packs WHERE number = ?');
    this.#packByName = prepare('SELECT number, name, size FROM packs WHERE name = ?');
    this.#segment = prepare('SELECT digests, locations FROM segments WHERE content = ?');
  }

  /** `file` null: in memory. A file that SQLite cannot read is made anew. */
  static open(file: string | null): IndexCache {
    if (file === null) return new IndexCache(new DatabaseSync(':memory:'));
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    try {
      return IndexCache.#checked(file);
    } catch {
      for (const end of ['', '-wal', '-shm']) rmSync(file + end, { force: true });
      return IndexCache.#checked(file);
    }
  }

  static #checked(file: string): IndexCache {
    const database = new DatabaseSync(file);
    try {
      const { user_version: version } = database.prepare('PRAGMA user_version').get() as { user_version: number };
      if (version !== 0 && version !== VERSION) throw new Error(`version ${version} of the index cache is not known`);
      const cache = new IndexCache(database);
      database.exec(`PRAGMA user_version = ${VERSION}`);
      return cache;
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Reads the index objects that this cache has not seen. A damaged one is passed over: its chunks are merely not found. */
  async sync(backend: Backend, signal: AbortSignal): Promise<void> {
    let batch: string[] = [];
    const read = async (): Promise<void> => {
      const found = await Promise.all(batch.map(async (key) => [key, await readIndex(backend, key, signal)] as const));
      this.#transaction(() => {
        for (const [key, index] of found) if (index !== null) this.#insert(key, index);
      });
      batch = [];
    };
    for await (const { key } of backend.list(INDEX_PREFIX, signal)) {
      if (this.#statements.seen.get(key) !== undefined) continue;
      if (batch.push(key) === FETCHING) await read();
    }
    if (batch.length > 0) await read();
  }

  add(key: string, index: IndexObject): void {
    this.#transaction(() => this.#insert(key, index));
  }

  chunk(id: Buffer): IndexedChunk | null {
    return (this.#chunk.get(id) as IndexedChunk | undefined) ?? null;
  }

  pack(number: number): IndexedPack | null {
    return packOf(this.#pack.get(number));
  }

  packNamed(name: Buffer): IndexedPack | null {
    return packOf(this.#packByName.get(name));
  }

  segment(content: Buffer): { digests: Buffer; locations: Buffer } | null {
    const row = this.#segment.get(content) as { digests: Uint8Array; locations: Uint8Array } | undefined;
    return row === undefined ? null : { digests: Buffer.from(row.digests), locations: Buffer.from(row.locations) };
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #insert(key: string, index: IndexObject): void {
    const { addPack, packNumber, addChunk, addSegment, see } = this.#statements;
    const numbers = index.packs.map(({ name, size }) => {
      addPack.run(name, size);
      return (packNumber.get(name) as { number: number }).number;
    });
    // In order of the ids the pages of the table are filled one after the other.
    for (const { id, pack, offset, length } of index.entries.toSorted((a, b) => a.id.compare(b.id))) {
      const number = numbers[pack];
      if (number !== undefined) addChunk.run(id, number, offset, length);
    }
    for (const { content, digests, locations } of index.segments) addSegment.run(content, digests, locations);
    see.run(key);
  }

  #transaction(work: () => void): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      work();
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#database.exec('ROLLBACK');
      throw error;
    }
  }
}

function packOf(row: unknown): IndexedPack | null {
  if (row === undefined) return null;
  const { number, name, size } = row as { number: number; name: Uint8Array; size: number };
  return { number, name: Buffer.from(name), size };
}

const NOTHING: IndexObject = { packs: [], entries: [], segments: [] };

/** Null for one that collection took meanwhile. */
async function readIndex(backend: Backend, key: string, signal: AbortSignal): Promise<IndexObject | null> {
  try {
    return decodeIndexObject(await backend.get(key, null, signal), key);
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return null;
    if (error instanceof OpenServiceError && error.code.startsWith('damaged_')) return NOTHING;
    throw error;
  }
}
