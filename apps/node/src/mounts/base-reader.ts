/**
 * The base of a live disk: a replica of a block, opened when it is first needed and again whenever it fails. A store that is away makes reads
 * wait for a while and then fail; they succeed again once it is back.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { asOpenServiceError, PermanentError } from '@openservice/domain';
import type { DiskReader } from '@openservice/nbd';
import type { BlockReader, Pool } from '@openservice/pools';
import type { BlockRef } from '@openservice/protocol';

/** ms that a read is tried for before its client gets an error. */
const PATIENCE_MS = 15_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;
/** What trying again with a newly opened reader cannot help. */
const HOPELESS = new Set([
  'damaged_chunk',
  'damaged_manifest',
  'damaged_block',
  'block_not_in_pool',
  'digest_mismatch',
  'out_of_range',
]);

export class BaseReader implements DiskReader {
  readonly size: number;
  readonly #block: BlockRef;
  readonly #poolId: string;
  readonly #pool: (signal: AbortSignal) => Promise<Pool>;
  readonly #patienceMs: number;
  readonly #stop = new AbortController();
  #opening: Promise<BlockReader> | null = null;
  #reader: BlockReader | null = null;

  constructor(block: BlockRef, poolId: string, pool: (signal: AbortSignal) => Promise<Pool>, patienceMs = PATIENCE_MS) {
    this.size = block.size;
    this.#block = block;
    this.#poolId = poolId;
    this.#pool = pool;
    this.#patienceMs = patienceMs;
  }

  get selfCached(): boolean {
    return this.#reader?.readNow !== undefined;
  }

  /** Proves that the replica is there and is the block that is meant. */
  async prove(): Promise<void> {
    await this.#open();
  }

  /** The reader itself, for who copies the block; it stays this one's. */
  async chunks(): Promise<BlockReader> {
    return this.#open();
  }

  readNow(offset: number, target: Buffer): boolean {
    return this.#reader?.readNow?.(offset, target) ?? false;
  }

  read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    return this.#patiently(signal, (reader) => reader.read(offset, length, signal));
  }

  async *data(from: number, signal: AbortSignal): AsyncIterable<{ offset: number; length: number }> {
    const reader = await this.#patiently(signal, async (opened) => opened);
    const { chunkSize } = reader;
    for await (const { first, count } of reader.extents(Math.floor(from / chunkSize), signal)) {
      const offset = first * chunkSize;
      yield { offset, length: Math.min(this.size, (first + count) * chunkSize) - offset };
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#drop();
  }

  async #patiently<T>(signal: AbortSignal, work: (reader: BlockReader) => Promise<T>): Promise<T> {
    const end = performance.now() + this.#patienceMs;
    for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(LONGEST_PAUSE_MS, wait * 2)) {
      try {
        return await work(await this.#open());
      } catch (error) {
        const known = asOpenServiceError(error);
        if (signal.aborted || known.outcome === 'cancelled' || HOPELESS.has(known.code) || performance.now() + wait > end)
          throw error;
        await this.#drop();
      }
      await pause(wait, undefined, { signal });
    }
  }

  #open(): Promise<BlockReader> {
    this.#opening ??= this.#openChecked().catch((error: unknown) => {
      this.#opening = null;
      throw error;
    });
    return this.#opening;
  }

  async #openChecked(): Promise<BlockReader> {
    const { signal } = this.#stop;
    const pool = await this.#pool(AbortSignal.any([signal, AbortSignal.timeout(this.#patienceMs)]));
    const reader = await pool.openReader(this.#block.id, signal);
    const same = reader.size === this.#block.size && reader.rootDigest.toString('hex') === this.#block.root_digest;
    if (!same || signal.aborted) {
      await reader.close();
      throw new PermanentError(
        'digest_mismatch',
        `Pool ${this.#poolId} holds another content of block ${this.#block.id} than the instance was loaded from.`,
      );
    }
    this.#reader = reader;
    return reader;
  }

  async #drop(): Promise<void> {
    const opening = this.#opening;
    this.#opening = null;
    this.#reader = null;
    const reader = await opening?.catch(() => null);
    await reader?.close();
  }
}
