/** Reads a stored block, whole or by sample, and says all that is wrong with it. */
import { sharedBuffer } from '@openservice/codec';
import { PermanentError } from '@openservice/domain';
import type { ChunkRange, ChunkSource } from '@openservice/pools';
import { Bandwidth } from './bandwidth.ts';
import { Lanes } from './lanes.ts';
import { OrderedRoot } from './ordered-root.ts';
import { bytesOf, plan } from './plan.ts';
import type { TransferCounters } from './port.ts';
import { Picker } from './sampling.ts';
import type { ByteLimit } from './token-bucket.ts';
import { Watchdog } from './watchdog.ts';

const MAX_RANGES = 100;
const STALL_LIMIT = 120_000;

export interface VerifyOptions {
  source: ChunkSource;
  expectedRoot: Buffer;
  signal: AbortSignal;
  /** As in TransferOptions. */
  window?: number;
  bandwidth?: number | null;
  limits?: readonly ByteLimit[];
  onProgress?: (counters: TransferCounters) => void;
  /** Part of the chunks with data that is read, chosen anew each time: more than 0; 1, the default, is all. One chunk at least. */
  sample?: number;
  /**
   * Told of each damaged chunk once, while the others are read. True: it was repaired; it is then read again, and counts as damaged only if it
   * still is. What it throws ends the verify.
   */
  onDamage?: (index: number, signal: AbortSignal) => Promise<boolean>;
}

export interface VerifyReport {
  /** Every chunk that was to be read could be; when that was all of them, together they are the block with the expected root. */
  intact: boolean;
  /** Null when a chunk could not be read, or not all were. */
  rootDigest: Buffer | null;
  /** Chunks with data that were read. */
  readChunks: number;
  /** Of those that were damaged, what `onDamage` made good. */
  repairedChunks: number;
  /** Damaged chunks, ascending, neighbours joined; the first 100 ranges. */
  damage: ChunkRange[];
  /** Damaged chunks in all. */
  damagedChunks: number;
}

/** Goes on past damaged chunks (PermanentError `damaged_chunk` of the source); any other error of the source is thrown. */
export async function verifySource(options: VerifyOptions): Promise<VerifyReport> {
  const run = new Run(options);
  return run.all();
}

/** Reads one chunk again, as verifySource does. False: it is damaged. Any other error is thrown. */
export async function chunkIsWhole(source: ChunkSource, index: number, signal: AbortSignal): Promise<boolean> {
  return (await readOrNull(source, index, sharedBuffer(source.chunkSize), signal)) !== null;
}

class Run {
  readonly #options: VerifyOptions;
  readonly #lanes: Lanes;
  readonly #watchdog: Watchdog;
  readonly #bandwidth: Bandwidth;
  readonly #root: OrderedRoot | null;
  readonly #picker: Picker;
  readonly #damaged = new DamageList();
  readonly #counters: TransferCounters;
  #read = 0;
  #repaired = 0;

  constructor(options: VerifyOptions) {
    const { source, signal, window, sample } = options;
    this.#options = options;
    this.#lanes = new Lanes({ window, chunkSize: source.chunkSize, signal });
    this.#counters = { bytesTotal: source.size, bytesDone: 0, bytesSent: 0, bytesSkipped: 0 };
    this.#watchdog = new Watchdog(
      STALL_LIMIT,
      () => this.#counters.bytesDone,
      (error) => this.#lanes.fail(error),
    );
    this.#bandwidth = new Bandwidth(options.bandwidth ?? null, options.limits ?? [], () => this.#watchdog.touch());
    this.#root = (sample ?? 1) < 1 ? null : new OrderedRoot(source);
    this.#picker = new Picker(sample ?? 1);
  }

  async all(): Promise<VerifyReport> {
    try {
      await this.#walk();
      await this.#lanes.drain();
    } catch (error) {
      this.#lanes.fail(error);
      await this.#lanes.drain();
    } finally {
      this.#watchdog.stop();
      this.#lanes.close();
    }
    const whole = this.#damaged.count === 0;
    const rootDigest = whole ? (this.#root?.digest() ?? null) : null;
    return {
      intact: whole && (this.#root === null || (rootDigest?.equals(this.#options.expectedRoot) ?? false)),
      rootDigest,
      readChunks: this.#read,
      repairedChunks: this.#repaired,
      damage: this.#damaged.ranges(),
      damagedChunks: this.#damaged.count,
    };
  }

  async #walk(): Promise<void> {
    const { source } = this.#options;
    let last: number | null = null;
    for await (const step of plan(source, this.#lanes.signal)) {
      this.#lanes.throwIfFailed();
      if (step.kind === 'hole') {
        this.#root?.holes(step.first, step.count);
        this.#passed(bytesOf(source, step.first, step.count));
      } else if (this.#picker.next()) {
        await this.#start(step.index);
      } else {
        last = step.index;
        this.#passed(bytesOf(source, step.index, 1));
      }
    }
    if (last !== null && this.#read === 0) await this.#start(last, false);
  }

  async #start(index: number, counts = true): Promise<void> {
    const length = bytesOf(this.#options.source, index, 1);
    this.#read++;
    await this.#bandwidth.take(length, this.#lanes.signal);
    await this.#lanes.start(index, async (buffer, signal) => {
      await this.#chunk(index, buffer, signal);
      this.#done(counts ? length : 0);
    });
  }

  async #chunk(index: number, buffer: Buffer, signal: AbortSignal): Promise<void> {
    const { source, onDamage } = this.#options;
    let digest = await readOrNull(source, index, buffer, signal);
    if (digest === null && onDamage !== undefined && (await onDamage(index, signal))) {
      digest = await readOrNull(source, index, buffer, signal);
      if (digest !== null) this.#repaired++;
    }
    if (digest !== null) {
      this.#root?.chunk(index, digest);
      return;
    }
    this.#damaged.add(index);
    // Its place in the order is taken, so that what follows does not pile up; the root counts for nothing now.
    this.#root?.holes(index, 1);
  }

  #passed(bytes: number): void {
    this.#counters.bytesSkipped += bytes;
    this.#done(bytes);
  }

  #done(bytes: number): void {
    this.#counters.bytesDone += bytes;
    this.#options.onProgress?.({ ...this.#counters });
  }
}

/** Null: the chunk is damaged. */
async function readOrNull(source: ChunkSource, index: number, buffer: Buffer, signal: AbortSignal): Promise<Buffer | null> {
  try {
    return await source.readChunk(index, buffer, signal);
  } catch (error) {
    if (error instanceof PermanentError && error.code === 'damaged_chunk') return null;
    throw error;
  }
}

/** Chunks come nearly in order; the list joins neighbours and keeps the first 100 ranges. */
class DamageList {
  #ranges: ChunkRange[] = [];
  count = 0;

  add(index: number): void {
    this.count++;
    this.#ranges.push({ first: index, count: 1 });
    this.#ranges.sort((a, b) => a.first - b.first);
    const joined: ChunkRange[] = [];
    for (const range of this.#ranges) {
      const last = joined.at(-1);
      if (last !== undefined && last.first + last.count === range.first) last.count += range.count;
      else joined.push(range);
    }
    this.#ranges = joined.slice(0, MAX_RANGES);
  }

  ranges(): ChunkRange[] {
    return this.#ranges;
  }
}
