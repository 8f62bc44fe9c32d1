/** The packs layout, version 1, over any backend (docs/format.md). */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { ChunkWorkers } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import { type Backend, ObjectNotFoundError } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { Ledger, type LedgerEntry, type LedgerHead } from '../ledger.ts';
import { listed } from '../listed.ts';
import type {
  BlockMeta,
  BlockReader,
  BlockStat,
  BlockWriter,
  CollectOptions,
  CollectReport,
  ListOptions,
  Pool,
  PoolProbe,
  WriteSession,
} from '../pool.ts';
import { withSealing } from '../sealed/backend.ts';
import { type PoolKeys, poolKeys } from '../sealed/keys.ts';
import { openCloning } from './clone.ts';
import { counted } from './counted.ts';
import { type CollectParts, collectPacks } from './gc/collect.ts';
import { IndexCache } from './index-cache.ts';
import { BLOCKS_PREFIX, fenceOf, ledgerPrefix, manifestOf, POOL_MARK_KEY, PROBE_PREFIX } from './keys.ts';
import { openWriting, type PoolParts } from './open-writing.ts';
import { decodePackedManifest, type PackedManifest } from './packed-manifest.ts';
import { newPoolMark, type PoolMark, parsePoolMark } from './pool-mark.ts';
import { PacksReader } from './reader.ts';
import { repairChunk } from './repair.ts';
import { sweepBlock } from './sweep.ts';

export interface PacksPoolOptions {
  id: string;
  /** Closed with the pool. */
  backend: Backend;
  /** Shared by the process; not closed with the pool. */
  workers: ChunkWorkers;
  /** What goes around the backend: retry, throttle, faults. Called once for the pool and once for each writer. */
  wrap?: (backend: Backend) => Backend;
  /** 32 bytes in hex; null or left out: not encrypted. */
  encryptionKey?: string | null;
  /** Where the index cache is kept; left out: in memory. */
  cacheDir?: string | undefined;
  /** For tests of collection. */
  collect?: Pick<CollectParts, 'wait' | 'mostNames' | 'withoutSecondMark' | 'withoutWaiting'> & { withoutAvoiding?: boolean };
  /** Objects that an empty place may hold. */
  ignored?: (key: string) => boolean;
}

export function createPacksPool(options: PacksPoolOptions): Pool {
  return new PacksPool(options);
}

interface Committed {
  fence: number;
  manifest: PackedManifest;
  entry: LedgerEntry;
}

class PacksPool implements Pool {
  readonly id: string;
  readonly #options: PacksPoolOptions;
  readonly #keys: PoolKeys | null;
  readonly #backend: Backend;
  #mark: PoolMark | null = null;
  #cache: IndexCache | null = null;

  constructor(options: PacksPoolOptions) {
    this.id = options.id;
    this.#options = options;
    const { encryptionKey } = options;
    this.#keys = encryptionKey === undefined || encryptionKey === null ? null : poolKeys(encryptionKey);
    this.#backend = this.#wrapped(options.backend);
  }

  get name(): string {
    return this.#backend.name;
  }

  async probe(options: { create: boolean }, signal: AbortSignal): Promise<PoolProbe> {
    const there = await this.#readMark(signal);
    if (there === null) {
      if (!options.create) throw this.#notInitialised();
      for await (const { key } of this.#backend.list('', signal)) {
        if (key.startsWith(PROBE_PREFIX) || this.#options.ignored?.(key) === true) continue;
        throw new PermanentError(
          'pool_path_in_use',
          `The ${this.name} holds other data already (${key}); give the pool an empty place or prefix.`,
        );
      }
      await this.#backend.putIfAbsent(POOL_MARK_KEY, newPoolMark(this.id, this.#keys), signal);
    }
    await this.#requireMark(signal, options.create ? 'pool_path_in_use' : 'pool_not_initialised');
    await this.#proveUse(signal);
    return { capacityBytes: await this.#backend.capacity(signal), fencing: this.#backend.fencing };
  }

  async stat(blockId: string, signal: AbortSignal): Promise<BlockStat | null> {
    throwIfCancelled(signal);
    const found = await this.#committed(blockId, signal);
    return found === null ? null : statOf(blockId, found);
  }

  async openReader(blockId: string, signal: AbortSignal): Promise<BlockReader> {
    throwIfCancelled(signal);
    await this.#requireMark(signal, 'pool_not_initialised');
    const found = await this.#committed(blockId, signal);
    if (found === null) throw this.#notHere(blockId);
    return new PacksReader(
      { backend: this.#backend, workers: this.#options.workers, keys: this.#keys },
      { id: blockId, ...found },
    );
  }

  async openWriter(session: WriteSession, signal: AbortSignal): Promise<BlockWriter> {
    return await openWriting(await this.#parts(signal), session, signal);
  }

  async openClone(from: string, session: WriteSession, signal: AbortSignal): Promise<BlockWriter | null> {
    const parts = await this.#parts(signal);
    const source = async (): Promise<PackedManifest> => {
      const found = await this.#committed(from, signal);
      if (found === null) throw this.#notHere(from);
      return found.manifest;
    };
    return (await source()).shared ? await openCloning(parts, source, session, signal) : null;
  }

  async trash(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#turn(blockId, fence, 'trashed', signal);
  }

  async untrash(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#turn(blockId, fence, 'committed', signal);
  }

  async remove(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    await this.#requireMark(signal, 'pool_not_initialised');
    const gone = (head: LedgerHead): LedgerEntry | null => {
      if (head.entry?.state === 'removed' && head.entry.fence === fence) return null;
      return { state: 'removed', fence, jobId: head.entry?.jobId ?? '', attempt: head.entry?.attempt ?? 0, detail: {} };
    };
    await new Ledger(this.#backend, ledgerPrefix(blockId)).advance(fence, gone, signal);
    await sweepBlock(this.#backend, blockId, fence, signal);
  }

  async *list(signal: AbortSignal, options: ListOptions = {}): AsyncIterable<BlockStat> {
    await this.#requireMark(signal, 'pool_not_initialised');
    let last = '';
    for await (const { key } of this.#backend.list(BLOCKS_PREFIX, signal)) {
      const blockId = key.split('/')[1] ?? '';
      if (blockId === last) continue;
      last = blockId;
      const found = await listed(blockId, options, () => this.#committed(blockId, signal, options.trashed === true));
      if (found !== null) yield statOf(blockId, found);
    }
  }

  async collect(options: CollectOptions, signal: AbortSignal): Promise<CollectReport> {
    await this.#requireMark(signal, 'pool_not_initialised');
    const { cacheDir, collect } = this.#options;
    const dir = cacheDir === undefined ? undefined : join(cacheDir, this.id);
    return await collectPacks({ backend: this.#backend, cacheDir: dir, ...collect }, options, signal);
  }

  async repair(blockId: string, index: number, bytes: Buffer | null, signal: AbortSignal): Promise<void> {
    const { digestKey } = await this.#requireMark(signal, 'pool_not_initialised');
    const found = await this.#committed(blockId, signal);
    if (found === null) throw this.#notHere(blockId);
    const { workers } = this.#options;
    const pool = { backend: this.#backend, workers, keys: this.#keys, digestKey };
    await repairChunk(pool, { id: blockId, ...found }, index, bytes, signal);
  }

  async close(): Promise<void> {
    this.#cache?.close();
    this.#cache = null;
    await this.#options.backend.close();
  }

  /** Sealing goes around the retries: what is tried again are the same bytes. */
  #wrapped(bare: Backend): Backend {
    const backend = this.#options.wrap?.(bare) ?? bare;
    return this.#keys === null ? backend : withSealing(backend, this.#keys.objects);
  }

  /** What a writer needs, with a backend that counts its bytes. */
  async #parts(signal: AbortSignal): Promise<PoolParts> {
    throwIfCancelled(signal);
    const { digestKey } = await this.#requireMark(signal, 'pool_not_initialised');
    const { cacheDir, backend, workers } = this.#options;
    this.#cache ??= IndexCache.open(cacheDir === undefined ? null : join(cacheDir, this.id, 'index.sqlite'));
    return {
      backend: this.#wrapped(counted(backend)),
      workers,
      keys: this.#keys,
      digestKey,
      poolId: this.id,
      cache: this.#cache,
      blind: this.#options.collect?.withoutAvoiding === true,
    };
  }

  /** Into the trash or out of it; the manifest stays where it is. */
  async #turn(blockId: string, fence: number, to: 'trashed' | 'committed', signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    await this.#requireMark(signal, 'pool_not_initialised');
    const from = to === 'trashed' ? 'committed' : 'trashed';
    const turned = ({ entry }: LedgerHead): LedgerEntry | null => {
      if (entry?.state === to) return null;
      if (entry?.state !== from) throw this.#notHere(blockId);
      return { ...entry, state: to, fence, detail: { ...entry.detail, manifest: manifestOf(blockId, entry) } };
    };
    await new Ledger(this.#backend, ledgerPrefix(blockId)).advance(fence, turned, signal);
  }

  async #committed(blockId: string, signal: AbortSignal, trashed = false): Promise<Committed | null> {
    const ledger = new Ledger(this.#backend, ledgerPrefix(blockId));
    let { number, entry } = await ledger.head(signal);
    for (;;) {
      if (entry?.state !== 'committed' && !(trashed && entry?.state === 'trashed')) return null;
      const key = manifestOf(blockId, entry);
      try {
        const manifest = decodePackedManifest(await this.#backend.get(key, null, signal), key);
        return { fence: fenceOf(key) ?? entry.fence, manifest, entry };
      } catch (error) {
        if (!(error instanceof ObjectNotFoundError)) throw error;
      }
      // Removed between the two reads, or else by somebody's hand.
      const again = await ledger.head(signal);
      if (again.number === number) {
        throw new PermanentError(
          'damaged_block',
          `The manifest of block ${blockId} is missing from ${this.name} though nobody removed it.`,
        );
      }
      ({ number, entry } = again);
    }
  }

  #notHere(blockId: string): PermanentError {
    return new PermanentError('block_not_in_pool', `Block ${blockId} is not in pool ${this.id} (${this.name}).`);
  }

  async #readMark(signal: AbortSignal): Promise<PoolMark | null> {
    try {
      return parsePoolMark(await this.#backend.get(POOL_MARK_KEY, null, signal), this.name, this.#keys);
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return null;
      throw error;
    }
  }

  async #requireMark(signal: AbortSignal, code: 'pool_path_in_use' | 'pool_not_initialised'): Promise<PoolMark> {
    if (this.#mark !== null) return this.#mark;
    const mark = await this.#readMark(signal);
    if (mark === null) throw this.#notInitialised();
    if (mark.poolId !== this.id)
      throw new PermanentError(code, `The ${this.name} belongs to pool ${mark.poolId}, not to ${this.id}.`);
    this.#mark = mark;
    return mark;
  }

  #notInitialised(): PermanentError {
    return new PermanentError(
      'pool_not_initialised',
      `The ${this.name} has not been set up for pool ${this.id}; create the pool first.`,
    );
  }

  /** Write, conditional write, read back, delete. */
  async #proveUse(signal: AbortSignal): Promise<void> {
    const key = `${PROBE_PREFIX}${randomBytes(12).toString('hex')}`;
    const bytes = randomBytes(64);
    const made = await this.#backend.putIfAbsent(key, bytes, signal);
    try {
      const again = await this.#backend.putIfAbsent(key, bytes, signal);
      const back = await this.#backend.get(key, null, signal);
      if (!made || again || !back.equals(bytes)) {
        throw new PermanentError('pool_unusable', `The ${this.name} does not give back what is written to it.`);
      }
    } finally {
      await this.#backend.remove(key, signal);
    }
  }
}

function statOf(blockId: string, { manifest, entry }: Committed): BlockStat {
  const { size, chunkSize, rootDigest, storedBytes } = manifest;
  const meta = (entry.detail.meta ?? null) as BlockMeta | null;
  return { blockId, size, chunkSize, rootDigest, storedBytes, trashed: entry.state === 'trashed', meta };
}
