/** A pool of raw images under a directory (`paths.ts` has the layout). */
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { ChunkWorkers } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { isMissing, mapped } from '../fs/durable.ts';
import { isKeySegment } from '../keys.ts';
import { Ledger, type LedgerEntry, type LedgerHead } from '../ledger.ts';
import { listed } from '../listed.ts';
import type {
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
import { type ReservedBackend, withReserve } from '../reserve/backend.ts';
import { dropRemoved, placeCommitted } from './block-files.ts';
import { type CommittedDetail, claim, detailOf, inTurn, oust } from './claim.ts';
import { checkShape, cloneParts } from './clone.ts';
import { collectRaw } from './collect.ts';
import { committedWriter } from './committed-writer.ts';
import { checkMarker, checkRoot, createMarker, tryOut } from './marker.ts';
import { BLOCKS_FOLDER, committedPaths, ledgerPrefix } from './paths.ts';
import { closeRawFiles, createRawReader, openRawFiles, type RawReaderFiles } from './reader.ts';
import { repairRawChunk } from './repair.ts';
import { openRawWriter, type RawWriterPlace } from './writer.ts';

export interface RawPoolOptions {
  id: string;
  /** Absolute path of the pool's directory. */
  root: string;
  /** The same directory, for the ledger and the marker. */
  backend: Backend;
  workers: ChunkWorkers;
}

type State = LedgerEntry['state'];

interface Committed {
  /** Of its ledger entry. */
  number: number;
  entry: LedgerEntry;
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
    const found = await this.#committed(blockId, signal);
    return found === null ? null : statOf(blockId, found.entry);
  }

  async openReader(blockId: string, signal: AbortSignal): Promise<BlockReader> {
    await this.#ready(signal);
    const source = await this.#openCommitted(blockId, signal);
    if (source === null) throw this.#notHere(blockId);
    return createRawReader(blockId, source.files, source.detail, this.#workers);
  }

  async openWriter(session: WriteSession, signal: AbortSignal): Promise<BlockWriter> {
    await this.#ready(signal);
    const at = this.#at(session.blockId);
    return inTurn(at.place, async () => {
      await this.#backend.refill(signal);
      const { done, goesOn } = await claim(at.ledger, session, this.name, signal);
      await oust(at.place);
      if (done !== null) return this.#done(session.blockId, done, signal);
      return (await openRawWriter(at, session, goesOn, signal))!;
    });
  }

  /** A copy takes no room of its own until one of the two is repaired; `storedBytes` tells its size all the same. */
  async openClone(from: string, session: WriteSession, signal: AbortSignal): Promise<BlockWriter | null> {
    await this.#ready(signal);
    const at = this.#at(session.blockId);
    const opened = await this.#openCommitted(from, signal);
    try {
      return await inTurn(at.place, async () => {
        if (opened === null && !(await this.#isDone(session, signal))) throw this.#notHere(from);
        const source = opened === null ? null : { blockId: from, ...opened };
        if (source !== null) checkShape(source, session);
        await this.#backend.refill(signal);
        const { done, goesOn } = await claim(at.ledger, session, this.name, signal);
        await oust(at.place);
        if (done !== null) return this.#done(session.blockId, done, signal);
        if (source === null) throw this.#notHere(from);
        return openRawWriter(at, session, goesOn, signal, () => cloneParts(source, this.#root, session, signal));
      });
    } finally {
      if (opened !== null) await closeRawFiles(opened.files);
    }
  }

  async trash(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#turn(blockId, fence, 'committed', 'trashed', signal);
  }

  async untrash(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#turn(blockId, fence, 'trashed', 'committed', signal);
  }

  async remove(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    await this.#ready(signal);
    const at = this.#at(blockId);
    await inTurn(at.place, async () => {
      await at.ledger.advance(fence, ({ entry }) => removedBy(entry, fence), signal);
      await oust(at.place);
      await dropRemoved(at, signal);
      await this.#backend.refill(signal);
    });
  }

  /** Memory: the names of the blocks. */
  async *list(signal: AbortSignal, options: ListOptions = {}): AsyncIterable<BlockStat> {
    await this.#ready(signal);
    for (const blockId of await mapped(() => this.#blockNames())) {
      const found = await listed(blockId, options, () => this.#committed(blockId, signal, options.trashed === true));
      if (found !== null) yield statOf(blockId, found.entry);
    }
  }

  async collect(options: CollectOptions, signal: AbortSignal): Promise<CollectReport> {
    await this.#ready(signal);
    const blocks = (await mapped(() => this.#blockNames())).map((blockId) => this.#at(blockId));
    const report = await collectRaw(this.#root, blocks, options, signal);
    await this.#backend.refill(signal);
    return report;
  }

  /** `bytes` null: nothing is to be marked here, since no block shares another's bytes. */
  async repair(blockId: string, index: number, bytes: Buffer | null, signal: AbortSignal): Promise<void> {
    await this.#ready(signal);
    const found = await this.#committed(blockId, signal);
    if (found === null) throw this.#notHere(blockId);
    const { ledger } = this.#at(blockId);
    const mustStand = async (): Promise<void> => {
      if ((await ledger.head(signal)).number !== found.number) throw this.#notHere(blockId);
    };
    const block = { blockId, detail: detailOf(found.entry), paths: committedPaths(this.#root, blockId), mustStand };
    await mapped(() => repairRawChunk(block, this.#workers, index, bytes, signal));
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

  /** Into the trash or out of it; the files stay where they are. */
  async #turn(blockId: string, fence: number, from: State, to: State, signal: AbortSignal): Promise<void> {
    await this.#ready(signal);
    const turned = ({ entry }: LedgerHead): LedgerEntry | null => {
      if (entry?.state === to) return null;
      if (entry?.state !== from) throw this.#notHere(blockId);
      return { ...entry, state: to, fence };
    };
    await this.#at(blockId).ledger.advance(fence, turned, signal);
  }

  /** The committed entry, its files in their places; null where the block is not there. */
  async #committed(blockId: string, signal: AbortSignal, trashed = false): Promise<Committed | null> {
    const at = this.#at(blockId);
    let { number, entry } = await at.ledger.head(signal);
    for (;;) {
      if (entry?.state !== 'committed' && !(trashed && entry?.state === 'trashed')) return null;
      if (await placeCommitted(at, entry.jobId, signal)) return { number, entry };
      // Gone between two looks: by a removal, or else by somebody's hand.
      const again = await at.ledger.head(signal);
      if (again.number === number) {
        throw new PermanentError(
          'damaged_block',
          `The files of block ${blockId} are missing from ${this.name} though nobody removed it.`,
        );
      }
      ({ number, entry } = again);
    }
  }

  /** The block's files, open, with the entry that they belong to; null where it is not there. */
  async #openCommitted(blockId: string, signal: AbortSignal): Promise<{ files: RawReaderFiles; detail: CommittedDetail } | null> {
    for (;;) {
      const found = await this.#committed(blockId, signal);
      if (found === null) return null;
      const files = await openRawFiles(committedPaths(this.#root, blockId));
      let isSame = false;
      try {
        // The same entry before and after: no removal and no newer block of this id came between.
        isSame = (await this.#at(blockId).ledger.head(signal)).number === found.number;
        if (files !== null && isSame) return { files, detail: detailOf(found.entry) };
      } finally {
        if (files !== null && !isSame) await closeRawFiles(files);
      }
    }
  }

  /** What a crash right after the commit left to do is done first. */
  async #done(blockId: string, entry: LedgerEntry, signal: AbortSignal): Promise<BlockWriter> {
    await placeCommitted(this.#at(blockId), entry.jobId, signal);
    return committedWriter(statOf(blockId, entry));
  }

  async #isDone({ blockId, jobId }: WriteSession, signal: AbortSignal): Promise<boolean> {
    const { entry } = await this.#at(blockId).ledger.head(signal);
    return entry?.state === 'committed' && entry.jobId === jobId;
  }

  #notHere(blockId: string): PermanentError {
    return new PermanentError('block_not_in_pool', `Block ${blockId} is not in ${this.name}.`);
  }

  async #blockNames(): Promise<string[]> {
    try {
      const entries = await readdir(join(this.#root, BLOCKS_FOLDER), { withFileTypes: true });
      const folders = entries.filter((entry) => entry.isDirectory() && isKeySegment(entry.name));
      return folders.map((entry) => entry.name).sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  #at(blockId: string): RawWriterPlace {
    const ledger = new Ledger(this.#backend, ledgerPrefix(blockId));
    return { root: this.#root, blockId, ledger, place: `${resolve(this.#root)}\n${blockId}` };
  }
}

function statOf(blockId: string, entry: LedgerEntry): BlockStat {
  const { size, chunkSize, rootDigest, storedBytes, meta } = detailOf(entry);
  const trashed = entry.state === 'trashed';
  return { blockId, size, chunkSize, rootDigest: Buffer.from(rootDigest, 'hex'), storedBytes, trashed, meta: meta ?? null };
}

function removedBy(entry: LedgerEntry | null, fence: number): LedgerEntry | null {
  if (entry?.state === 'removed' && entry.fence === fence) return null;
  return { state: 'removed', fence, jobId: entry?.jobId ?? 'none', attempt: entry?.attempt ?? 0, detail: {} };
}
