/**
 * The base of a live disk: a replica of a block, opened when it is first needed and again whenever it fails. A store that is away makes reads
 * wait for a while and then fail; it is looked for from then on, so that reads succeed again once it is back, whether somebody reads or not.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { asOpenServiceError, type OpenServiceError, PermanentError, TransientError, toFailure } from '@openservice/domain';
import type { DiskReader } from '@openservice/nbd';
import type { BlockReader, Pool } from '@openservice/pools';
import type { BlockRef } from '@openservice/protocol';
import { orAborted } from '@openservice/runtime';
import { Lease } from './lease.ts';

/** ms that a read is tried for before its client gets an error. */
const PATIENCE_MS = 15_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;
/** ms between looks for a store that is away and that nobody reads. */
const LOOK_MS = 5000;
/** What trying again with a newly opened reader cannot help. */
const HOPELESS = new Set([
  'damaged_chunk',
  'damaged_manifest',
  'damaged_block',
  'block_not_in_pool',
  'digest_mismatch',
  'out_of_range',
]);
/** Of what holds data, told at once: whoever asks looks at some place of a disk, seldom at all of it. */
const RANGES_AT_ONCE = 256;
const SPAN_AT_ONCE = 1024 * 1024 * 1024;

export interface BaseReaderOptions {
  pool: (poolId: string, signal: AbortSignal) => Promise<Pool>;
  patienceMs?: number;
  lookMs?: number;
}

export class BaseReader implements DiskReader {
  readonly size: number;
  readonly #block: BlockRef;
  readonly #poolId: string;
  readonly #options: Required<BaseReaderOptions>;
  readonly #stop = new AbortController();
  #opening: Promise<Lease> | null = null;
  #lease: Lease | null = null;
  #looking: Promise<void> | null = null;
  #trouble: string | null = null;

  constructor(block: BlockRef, poolId: string, options: BaseReaderOptions) {
    this.size = block.size;
    this.#block = block;
    this.#poolId = poolId;
    this.#options = { patienceMs: PATIENCE_MS, lookMs: LOOK_MS, ...options };
  }

  get selfCached(): boolean {
    return this.#lease?.reader.readNow !== undefined;
  }

  /** Why the store cannot be read; null: it could be when it was last asked. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** Proves that the replica is there and is the block that is meant. Not tried again. */
  async prove(signal: AbortSignal): Promise<void> {
    await orAborted(this.#open(), signal);
  }

  /** Looks for the store in the background until it is there. */
  seek(): void {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
  }

  readNow(offset: number, target: Buffer): boolean {
    return this.#lease?.reader.readNow?.(offset, target) ?? false;
  }

  read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    return this.#patiently(signal, (reader, stopped) => reader.read(offset, length, stopped));
  }

  readInto(offset: number, target: Buffer, signal: AbortSignal): Promise<void> {
    return this.#patiently(signal, async (reader, stopped) => {
      if (reader.readInto !== undefined) await reader.readInto(offset, target, stopped);
      else (await reader.read(offset, target.length, stopped)).copy(target);
    });
  }

  async *data(from: number, signal: AbortSignal): AsyncIterable<{ offset: number; length: number }> {
    for (let at: number | null = from; at !== null; ) {
      // Some at a time: a reader that fails in between is opened again, and goes on where it was.
      const some: { offset: number; length: number }[] = await this.#patiently(signal, (reader, stopped) =>
        this.#someData(reader, at ?? 0, stopped),
      );
      yield* some;
      const last = some.at(-1);
      const next = last === undefined ? this.size : last.offset + last.length;
      at = next > at && next < this.size ? next : null;
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    const opening = this.#opening;
    this.#opening = null;
    this.#lease = null;
    (await opening?.catch(() => null))?.end();
    await this.#looking;
  }

  async #someData(reader: BlockReader, from: number, signal: AbortSignal): Promise<{ offset: number; length: number }[]> {
    const { chunkSize } = reader;
    const some: { offset: number; length: number }[] = [];
    for await (const { first, count } of reader.extents(Math.floor(from / chunkSize), signal)) {
      const offset = first * chunkSize;
      some.push({ offset, length: Math.min(this.size, (first + count) * chunkSize) - offset });
      if (some.length === RANGES_AT_ONCE || offset >= from + SPAN_AT_ONCE) break;
    }
    return some;
  }

  async #patiently<T>(signal: AbortSignal, work: (reader: BlockReader, signal: AbortSignal) => Promise<T>): Promise<T> {
    const end = performance.now() + this.#options.patienceMs;
    for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(LONGEST_PAUSE_MS, wait * 2)) {
      let lease: Lease | null = null;
      try {
        lease = await orAborted(this.#open(), signal);
        const done = await lease.use(signal, end - performance.now(), work);
        this.#trouble = null;
        return done;
      } catch (error) {
        signal.throwIfAborted();
        const known = asOpenServiceError(error);
        const hopeless = HOPELESS.has(known.code) || this.#stop.signal.aborted;
        // What is wrong with these bytes says nothing of the rest.
        if (!hopeless && lease !== null) this.#drop(lease);
        if (hopeless || performance.now() + wait > end) throw this.#given(known, hopeless);
      }
      await pause(wait, undefined, { signal });
    }
  }

  #given(error: OpenServiceError, hopeless: boolean): OpenServiceError {
    if (hopeless) return error;
    this.#trouble = `Pool ${this.#poolId} cannot be read: ${error.message}`;
    this.seek();
    return new TransientError(error.outcome === 'cancelled' ? 'unreachable' : error.code, this.#trouble, { cause: error });
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      try {
        await orAborted(this.#open(), signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#trouble = toFailure(error).message;
      }
      await pause(this.#options.lookMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** One that is being opened is everybody's. */
  #open(): Promise<Lease> {
    this.#opening ??= this.#openChecked().catch((error: unknown) => {
      this.#opening = null;
      throw error;
    });
    return this.#opening;
  }

  async #openChecked(): Promise<Lease> {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(this.#options.patienceMs)]);
    const reader = await this.#openReader(signal);
    const same = reader.size === this.#block.size && reader.rootDigest.toString('hex') === this.#block.root_digest;
    if (!same || this.#stop.signal.aborted) {
      await reader.close();
      this.#stop.signal.throwIfAborted();
      throw new PermanentError(
        'digest_mismatch',
        `Pool ${this.#poolId} holds another content of block ${this.#block.id} than the instance was loaded from.`,
      );
    }
    this.#trouble = null;
    this.#lease = new Lease(reader);
    return this.#lease;
  }

  async #openReader(signal: AbortSignal): Promise<BlockReader> {
    try {
      const pool = await this.#options.pool(this.#poolId, signal);
      return await pool.openReader(this.#block.id, signal);
    } catch (error) {
      if (!signal.aborted || this.#stop.signal.aborted) throw error;
      const seconds = this.#options.patienceMs / 1000;
      throw new TransientError('unreachable', `Pool ${this.#poolId} did not answer for ${seconds} s.`, { cause: error });
    }
  }

  /** Opened anew by who reads next; others may have done so by now. */
  #drop(failed: Lease): void {
    if (this.#lease === failed) {
      this.#lease = null;
      this.#opening = null;
    }
    failed.end();
  }
}
