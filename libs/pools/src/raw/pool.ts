/** A pool of raw images under a directory (`paths.ts` has the layout). */
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { ChunkWorkers } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { isMissing, mapped } from '../fs/durable.ts';
import { isKeySegment } from '../keys.ts';
import { Ledger, type LedgerEntry } from '../ledger.ts';
import type { BlockReader, BlockStat, BlockWriter, Pool, PoolProbe, WriteSession } from '../pool.ts';
import { type ReservedBackend, withReserve } from '../reserve/backend.ts';
import { dropBlock, dropParts, placeCommitted } from './block-files.ts';
import { claim, detailOf, inTurn, oust } from './claim.ts';
import { committedWriter } from './committed-writer.ts';
import { checkMarker, checkRoot, createMarker, tryOut } from './marker.ts';
import { BLOCKS_FOLDER, committedPaths, ledgerPrefix } from './paths.ts';
import { createRawReader, openRawFiles } from './reader.ts';
import { openRawWriter } from './writer.ts';

export interface RawPoolOptions {
  id: string;
  /** Absolute path of the pool's directory. */
  root: string;
  /** The same directory, for the ledger and the marker. */
  backend: Backend;
  workers: ChunkWorkers;
}

export function createRawPool(options: RawPoolOptions): Pool {
  return new RawPool(options);
}

class RawPool implements Pool {
  readonly id: string;
  readonly name: string;
  readonly #root: string;
  readonly #backend: ReservedBackend;
  readonly #workers: ChunkWorkers;
  #checked = false;

  constructor(options: RawPoolOptions) {
    this.id = options.id;
    this.name = `local pool ${options.root}`;
    this.#root = options.root;
    this.#backend = withReserve(options.backend);
    this.#workers = options.workers;
  }

  async probe(options: { create: boolean }, signal: AbortSignal): Promise<PoolProbe> {
    throwIfCancelled(signal);
    await checkRoot(this.#root);
    if (options.create) await createMarker(this.#backend, this.#root, this.id, signal);
    else await checkMarker(this.#backend, this.#root, this.id, signal);
    await tryOut(this.#backend, signal);
    await this.#backend.refill(signal);
    return { capacityBytes: await this.#backend.capacity(signal), fencing: this.#backend.fencing };
  }

  async stat(blockId: string, signal: AbortSignal): Promise<BlockStat | null> {
    await this.#ready(signal);
    const entry = await this.#committed(blockId, signal);
    return entry === null ? null : statOf(blockId, entry);
  }

  async openReader(blockId: string, signal: AbortSignal): Promise<BlockReader> {
    await this.#ready(signal);
    const entry = await this.#committed(blockId, signal);
    const files = entry === null ? null : await openRawFiles(committedPaths(this.#root, blockId));
    if (entry === null || files === null) {
      throw new PermanentError('block_not_in_pool', `Block ${blockId} is not in ${this.name}.`);
    }
    return createRawReader(blockId, files, detailOf(entry), this.#workers);
  }

  async openWriter(session: WriteSession, signal: AbortSignal): Promise<BlockWriter> {
    await this.#ready(signal);
    const { blockId, jobId } = session;
    const place = this.#place(blockId);
    const ledger = this.#ledger(blockId);
    return inTurn(place, async () => {
      await this.#backend.refill(signal);
      const done = await claim(ledger, session, signal);
      await oust(place);
      if (done !== null) {
        await placeCommitted(this.#root, blockId, done.jobId);
        return committedWriter(statOf(blockId, done));
      }
      await dropParts(this.#root, blockId, jobId);
      return openRawWriter({ root: this.#root, ledger, place }, session, signal);
    });
  }

  async remove(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#ready(signal);
    const place = this.#place(blockId);
    await inTurn(place, async () => {
      await this.#ledger(blockId).advance(fence, ({ entry }) => removedBy(entry, fence), signal);
      await oust(place);
      await dropBlock(this.#root, blockId);
      await this.#backend.refill(signal);
    });
  }

  /** Memory: the names of the blocks. */
  async *list(signal: AbortSignal): AsyncIterable<BlockStat> {
    await this.#ready(signal);
    const names = await mapped(() => this.#blockNames());
    for (const blockId of names) {
      const entry = await this.#committed(blockId, signal);
      if (entry !== null) yield statOf(blockId, entry);
    }
  }

  close(): Promise<void> {
    return this.#backend.close();
  }

  /** A directory whose disk is not mounted must not pass for a pool without blocks. */
  async #ready(signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    if (this.#checked) return;
    await checkRoot(this.#root);
    await checkMarker(this.#backend, this.#root, this.id, signal);
    this.#checked = true;
  }

  /** The committed entry, its files in their places; null where the block is not there. */
  async #committed(blockId: string, signal: AbortSignal): Promise<LedgerEntry | null> {
    const { entry } = await this.#ledger(blockId).head(signal);
    if (entry?.state !== 'committed') return null;
    return (await placeCommitted(this.#root, blockId, entry.jobId)) ? entry : this.#vanished(blockId, signal);
  }

  /** The files went between two looks: by a removal, or else by somebody's hand. */
  async #vanished(blockId: string, signal: AbortSignal): Promise<null> {
    const { entry } = await this.#ledger(blockId).head(signal);
    if (entry?.state !== 'committed') return null;
    throw new PermanentError(
      'damaged_block',
      `The files of block ${blockId} are missing from ${this.name} though nobody removed it.`,
    );
  }

  async #blockNames(): Promise<string[]> {
    try {
      const names = await readdir(join(this.#root, BLOCKS_FOLDER));
      return names.filter(isKeySegment).sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  #ledger(blockId: string): Ledger {
    return new Ledger(this.#backend, ledgerPrefix(blockId));
  }

  #place(blockId: string): string {
    return `${resolve(this.#root)}\n${blockId}`;
  }
}

function statOf(blockId: string, entry: LedgerEntry): BlockStat {
  const { size, chunkSize, rootDigest, storedBytes } = detailOf(entry);
  return { blockId, size, chunkSize, rootDigest: Buffer.from(rootDigest, 'hex'), storedBytes };
}

function removedBy(entry: LedgerEntry | null, fence: number): LedgerEntry | null {
  if (entry?.state === 'removed' && entry.fence === fence) return null;
  return { state: 'removed', fence, jobId: entry?.jobId ?? 'none', attempt: entry?.attempt ?? 0, detail: {} };
}
