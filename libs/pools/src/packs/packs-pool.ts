/** The packs layout, version 1, over any backend (docs/format.md). */
import { randomBytes } from 'node:crypto';
import type { ChunkWorkers } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import { type Backend, ObjectNotFoundError } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { Ledger, type LedgerEntry, type LedgerHead } from '../ledger.ts';
import type { BlockReader, BlockStat, BlockWriter, Pool, PoolProbe, WriteSession } from '../pool.ts';
import { counted } from './counted.ts';
import { ledgerPrefix, manifestKey, POOL_MARK_KEY, PROBE_PREFIX } from './keys.ts';
import { openWriting } from './open-writing.ts';
import { decodePackedManifest, type PackedManifest } from './packed-manifest.ts';
import { newPoolMark, type PoolMark, parsePoolMark } from './pool-mark.ts';
import { PacksReader } from './reader.ts';
import { sweepBlock } from './sweep.ts';

export interface PacksPoolOptions {
  id: string;
  /** Closed with the pool. */
  backend: Backend;
  /** Shared by the process; not closed with the pool. */
  workers: ChunkWorkers;
  /** What goes around the backend: retry, throttle, faults. Called once for the pool and once for each writer. */
  wrap?: (backend: Backend) => Backend;
}

export function createPacksPool(options: PacksPoolOptions): Pool {
  return new PacksPool(options);
}

class PacksPool implements Pool {
  readonly id: string;
  readonly #bare: Backend;
  readonly #wrap: (backend: Backend) => Backend;
  readonly #backend: Backend;
  readonly #workers: ChunkWorkers;
  #mark: PoolMark | null = null;

  constructor(options: PacksPoolOptions) {
    this.id = options.id;
    this.#bare = options.backend;
    this.#wrap = options.wrap ?? ((backend) => backend);
    this.#backend = this.#wrap(this.#bare);
    this.#workers = options.workers;
  }

  get name(): string {
    return this.#backend.name;
  }

  async probe(options: { create: boolean }, signal: AbortSignal): Promise<PoolProbe> {
    const there = await this.#readMark(signal);
    if (there === null) {
      if (!options.create) throw this.#notInitialised();
      for await (const { key } of this.#backend.list('', signal)) {
        if (key.startsWith(PROBE_PREFIX)) continue;
        throw new PermanentError(
          'pool_path_in_use',
          `The ${this.name} holds other data already (${key}); give the pool an empty place or prefix.`,
        );
      }
      await this.#backend.putIfAbsent(POOL_MARK_KEY, newPoolMark(this.id), signal);
    }
    await this.#requireMark(signal, options.create ? 'pool_path_in_use' : 'pool_not_initialised');
    await this.#proveUse(signal);
    return { capacityBytes: await this.#backend.capacity(signal), fencing: this.#backend.fencing };
  }

  async stat(blockId: string, signal: AbortSignal): Promise<BlockStat | null> {
    throwIfCancelled(signal);
    const found = await this.#committed(blockId, signal);
    if (found === null) return null;
    const { size, chunkSize, rootDigest, storedBytes } = found.manifest;
    return { blockId, size, chunkSize, rootDigest, storedBytes };
  }

  async openReader(blockId: string, signal: AbortSignal): Promise<BlockReader> {
    throwIfCancelled(signal);
    await this.#requireMark(signal, 'pool_not_initialised');
    const found = await this.#committed(blockId, signal);
    if (found === null)
      throw new PermanentError('block_not_in_pool', `Block ${blockId} is not in pool ${this.id} (${this.name}).`);
    return new PacksReader(this.#backend, this.#workers, { id: blockId, ...found });
  }

  async openWriter(session: WriteSession, signal: AbortSignal): Promise<BlockWriter> {
    throwIfCancelled(signal);
    const { digestKey } = await this.#requireMark(signal, 'pool_not_initialised');
    const pool = { backend: this.#wrap(counted(this.#bare)), workers: this.#workers, digestKey, poolId: this.id };
    return await openWriting(pool, session, signal);
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

  async *list(signal: AbortSignal): AsyncIterable<BlockStat> {
    await this.#requireMark(signal, 'pool_not_initialised');
    let last = '';
    for await (const { key } of this.#backend.list('blocks/', signal)) {
      const blockId = key.split('/')[1] ?? '';
      if (blockId === last) continue;
      last = blockId;
      const stat = await this.stat(blockId, signal);
      if (stat !== null) yield stat;
    }
  }

  async close(): Promise<void> {
    await this.#backend.close();
  }

  async #committed(blockId: string, signal: AbortSignal): Promise<{ fence: number; manifest: PackedManifest } | null> {
    const ledger = new Ledger(this.#backend, ledgerPrefix(blockId));
    let { number, entry } = await ledger.head(signal);
    for (;;) {
      if (entry?.state !== 'committed') return null;
      const { fence } = entry;
      const key = manifestKey(blockId, fence);
      try {
        return { fence, manifest: decodePackedManifest(await this.#backend.get(key, null, signal), key) };
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

  async #readMark(signal: AbortSignal): Promise<PoolMark | null> {
    try {
      return parsePoolMark(await this.#backend.get(POOL_MARK_KEY, null, signal), this.name);
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
