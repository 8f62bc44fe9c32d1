/**
 * Where the pool's chunks lie, as far as this node has read the pool's index: a SQLite file that may be lost or stale at any time without
 * harm, because a hit counts only after its pack was seen to exist. Each place has a checksum: a file that rots gives no wrong answer. Paged: memory
 * does not grow with the pool.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { setImmediate } from 'node:timers/promises';
import { crc32c } from '@node-rs/crc32';
import { OpenServiceError, TransientError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { ObjectNotFoundError } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { isDamaged } from './checked.ts';
import { encodeIndexObject, INDEX_ENTRY_BYTES, type IndexObject, type OpenIndex, openIndexObject } from './index-object.ts';
import { IndexStage } from './index-stage.ts';
import { INDEX_PREFIX } from './keys.ts';
import { HASH_BYTES } from './segment.ts';

const CACHE_KIB = 8192;
/** Index objects fetched at once; each is about 3 MiB at most. */
const FETCHING = 2;
/** Rows inserted before others get their turn: about 20 ms. */
const AT_ONCE = 8192;
const VERSION = 2;
const PLACE_BYTES = 16;

const TABLES = `
  CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS packs (number INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, size INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS chunks (id BLOB PRIMARY KEY, place BLOB NOT NULL) WITHOUT ROWID;
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
  /** Where entries are sorted; null: in memory. */
  readonly #dir: string | null;
  readonly #statements: Record<'seen' | 'see' | 'addPack' | 'packNumber' | 'addChunk' | 'addSegment', StatementSync>;
  readonly #chunk: StatementSync;
  readonly #pack: StatementSync;
  readonly #packByName: StatementSync;
  readonly #segment: StatementSync;
  #syncing: Promise<void> = Promise.resolve();

  private constructor(database: DatabaseSync, dir: string | null) {
    this.#database = database;
    this.#dir = dir;
    database.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;`);
    database.exec('PRAGMA busy_timeout = 5000; PRAGMA mmap_size = 0;');
    database.exec(TABLES);
    const prepare = (sql: string): StatementSync => database.prepare(sql);
    this.#statements = {
      seen: prepare('SELECT 1 FROM objects WHERE key = ?'),
      see: prepare('INSERT OR IGNORE INTO objects (key) VALUES (?)'),
      addPack: prepare('INSERT INTO packs (name, size) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET size = excluded.size'),
      packNumber: prepare('SELECT number FROM packs WHERE name = ?'),
      addChunk: prepare('INSERT OR REPLACE INTO chunks (id, place) VALUES (?, ?)'),
      addSegment: prepare('INSERT OR REPLACE INTO segments (content, digests, locations) VALUES (?, ?, ?)'),
    };
    this.#chunk = prepare('SELECT place FROM chunks WHERE id = ?');
    this.#pack = prepare('SELECT number, name, size FROM packs WHERE number = ?');
    this.#packByName = prepare('SELECT number, name, size FROM packs WHERE name = ?');
    this.#segment = prepare('SELECT digests, locations FROM segments WHERE content = ?');
  }

  /** `file` null: in memory. A file that SQLite cannot read is made anew. */
  static open(file: string | null): IndexCache {
    if (file === null) return new IndexCache(new DatabaseSync(':memory:'), null);
    const dir = dirname(file);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    for (const left of readdirSync(dir)) if (left.startsWith('index-')) rmSync(join(dir, left), { recursive: true, force: true });
    try {
      return IndexCache.#checked(file);
    } catch {
      for (const end of ['', '-wal', '-shm']) rmSync(file + end, { force: true });
    }
    try {
      return IndexCache.#checked(file);
    } catch (cause) {
      const why = (cause as Error).message;
      throw new TransientError('cache_unwritable', `${file} cannot be made (${why}); make room on the node's data directory.`, {
        cause,
      });
    }
  }

  static #checked(file: string): IndexCache {
    const database = new DatabaseSync(file);
    try {
      const { user_version: version } = database.prepare('PRAGMA user_version').get() as { user_version: number };
      if (version !== 0 && version !== VERSION) throw new Error(`version ${version} of the index cache is not known`);
      const cache = new IndexCache(database, dirname(file));
      database.exec(`PRAGMA user_version = ${VERSION}`);
      return cache;
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /**
   * Reads the index objects that this cache has not seen. A damaged one is passed over, and so is what this node's disk does not take (it is
   * full): chunks are merely not found, and the next sync tries again.
   */
  async sync(backend: Backend, signal: AbortSignal): Promise<void> {
    // One after the other: the second finds little to do.
    const before = this.#syncing;
    const mine = before.catch(() => {}).then(() => this.#sync(backend, signal).catch(passOverLocal));
    this.#syncing = mine;
    await mine;
  }

  async #sync(backend: Backend, signal: AbortSignal): Promise<void> {
    const fresh: string[] = [];
    let [bytes, listed] = [0, 0];
    for await (const { key, size } of backend.list(INDEX_PREFIX, signal)) {
      listed++;
      if (this.#statements.seen.get(key) !== undefined) continue;
      fresh.push(key);
      bytes += size;
    }
    if (fresh.length === 0) return;
    if (this.#isMostlyGone(listed)) {
      this.#database.exec('DELETE FROM objects; DELETE FROM packs; DELETE FROM chunks; DELETE FROM segments;');
      return this.#sync(backend, signal);
    }
    const stage = new IndexStage(this.#dir, bytes / INDEX_ENTRY_BYTES);
    try {
      for (let at = 0; at < fresh.length; at += FETCHING) {
        const keys = fresh.slice(at, at + FETCHING);
        for (const index of await Promise.all(keys.map((key) => readIndex(backend, key, signal)))) {
          if (index === null) continue;
          const open = openOrNothing(index.bytes, index.key);
          this.#transaction(() => this.#stage(open, stage));
          if (open.entries.length >= AT_ONCE * INDEX_ENTRY_BYTES) await setImmediate();
        }
      }
      await this.#insert(stage, signal);
    } finally {
      stage.close();
    }
    this.#transaction(() => {
      for (const key of fresh) this.#statements.see.run(key);
    });
  }

  /** What a session of this node published. What this node's disk does not take, the next sync finds. */
  async add(key: string, index: IndexObject, signal: AbortSignal): Promise<void> {
    await this.#add(key, index, signal).catch(passOverLocal);
  }

  async #add(key: string, index: IndexObject, signal: AbortSignal): Promise<void> {
    const stage = new IndexStage(null, index.entries.length);
    this.#transaction(() => this.#stage(openIndexObject(encodeIndexObject(index), key), stage));
    await this.#insert(stage, signal);
    this.#statements.see.run(key);
  }

  chunk(id: Buffer): IndexedChunk | null {
    const row = this.#chunk.get(id) as { place: Uint8Array } | undefined;
    if (row === undefined) return null;
    const place = Buffer.from(row.place.buffer, row.place.byteOffset, row.place.byteLength);
    if (place.length !== PLACE_BYTES || place.readUInt32LE(12) !== checksum(id, place)) return null;
    return { pack: place.readUInt32LE(0), offset: place.readUInt32LE(4), length: place.readUInt32LE(8) };
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

  /** Most of what it knows was collected: it is cheaper to read the rest anew than to carry it along. */
  #isMostlyGone(listed: number): boolean {
    const { count } = this.#database.prepare('SELECT COUNT(*) AS count FROM objects').get() as { count: number };
    return count > 2 * listed + 64;
  }

  #stage(index: OpenIndex, stage: IndexStage): void {
    const { addPack, packNumber, addSegment } = this.#statements;
    const numbers = index.packs.map(({ name, size }) => {
      addPack.run(name, size);
      return (packNumber.get(name) as { number: number }).number;
    });
    const place = Buffer.alloc(PLACE_BYTES);
    for (let at = 0; at < index.entries.length; at += INDEX_ENTRY_BYTES) {
      const id = index.entries.subarray(at, at + HASH_BYTES);
      const number = numbers[index.entries.readUInt32LE(at + HASH_BYTES)];
      if (number === undefined) continue;
      place.writeUInt32LE(number, 0);
      index.entries.copy(place, 4, at + HASH_BYTES + 4, at + INDEX_ENTRY_BYTES);
      place.writeUInt32LE(checksum(id, place), 12);
      stage.add(id, place);
    }
    for (const { content, digests, locations } of index.segments) addSegment.run(content, digests, locations);
  }

  /** A few thousand rows at a time: others look things up meanwhile. */
  async #insert(stage: IndexStage, signal: AbortSignal): Promise<void> {
    const rows = stage.sorted();
    for (let done = false; !done; ) {
      throwIfCancelled(signal);
      this.#transaction(() => {
        for (let count = 0; count < AT_ONCE; count++) {
          const row = rows.next();
          if (row.done === true) {
            done = true;
            return;
          }
          this.#statements.addChunk.run(row.value.id, row.value.place);
        }
      });
      if (!done) await setImmediate();
    }
  }

  #transaction(work: () => void): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      work();
      this.#database.exec('COMMIT');
    } catch (error) {
      // A full disk has rolled it back already.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }
}

/** The cache is a hint: a disk of the node's own that is full or broken must not fail what is done in the pool. */
function passOverLocal(error: unknown): void {
  const { code, syscall } = error as { code?: unknown; syscall?: unknown };
  if (code !== 'ERR_SQLITE_ERROR' && (error instanceof OpenServiceError || typeof syscall !== 'string')) throw error;
}

function checksum(id: Buffer, place: Buffer): number {
  return crc32c(place.subarray(0, 12), crc32c(id));
}

function packOf(row: unknown): IndexedPack | null {
  if (row === undefined) return null;
  const { number, name, size } = row as { number: number; name: Uint8Array; size: number };
  return { number, name: Buffer.from(name), size };
}

function openOrNothing(bytes: Buffer, key: string): OpenIndex {
  try {
    return openIndexObject(bytes, key);
  } catch (error) {
    if (isDamaged(error)) return { packs: [], entries: Buffer.alloc(0), segments: [] };
    throw error;
  }
}

/** Null for one that collection took meanwhile, or that does not open. */
async function readIndex(backend: Backend, key: string, signal: AbortSignal): Promise<{ key: string; bytes: Buffer } | null> {
  try {
    return { key, bytes: await backend.get(key, null, signal) };
  } catch (error) {
    if (error instanceof ObjectNotFoundError || isDamaged(error)) return null;
    throw error;
  }
}
