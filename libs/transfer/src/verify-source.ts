/** Reads a stored block from end to end, and says all that is wrong with it. */
import { chunkLength, PermanentError } from '@openservice/domain';
import type { ChunkRange, ChunkSource } from '@openservice/pools';
import { Bandwidth } from './bandwidth.ts';
import { Lanes } from './lanes.ts';
import { OrderedRoot } from './ordered-root.ts';
import { bytesOf, plan } from './plan.ts';
import type { TransferCounters } from './port.ts';
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
  onProgress?: (counters: TransferCounters) => void;
}

export interface VerifyReport {
  /** Every chunk could be read, and together they are the block with the expected root. */
  intact: boolean;
  /** Null when a chunk could not be read. */
  rootDigest: Buffer | null;
  /** Damaged chunks, ascending, neighbours joined; the first 100 ranges. */
  damage: ChunkRange[];
  /** Damaged chunks in all. */
  damagedChunks: number;
}

/** Goes on past damaged chunks (PermanentError `damaged_chunk` of the source); any other error of the source is thrown. */
export async function verifySource(options: VerifyOptions): Promise<VerifyReport> {
  const { source, expectedRoot, signal, window } = options;
  const lanes = new Lanes({ window, chunkSize: source.chunkSize, signal });
  const counters: TransferCounters = { bytesTotal: source.size, bytesDone: 0, bytesSent: 0, bytesSkipped: 0 };
  const watchdog = new Watchdog(
    STALL_LIMIT,
    () => counters.bytesDone,
    (error) => lanes.fail(error),
  );
  const bandwidth = new Bandwidth(options.bandwidth ?? null, () => watchdog.touch());
  const root = new OrderedRoot(source);
  const damaged = new DamageList();
  const done = (bytes: number) => {
    counters.bytesDone += bytes;
    options.onProgress?.({ ...counters });
  };
  try {
    for await (const step of plan(source, lanes.signal)) {
      lanes.throwIfFailed();
      if (step.kind === 'hole') {
        root.holes(step.first, step.count);
        counters.bytesSkipped += bytesOf(source, step.first, step.count);
        done(bytesOf(source, step.first, step.count));
        continue;
      }
      const { index } = step;
      await bandwidth.take(bytesOf(source, index, 1), lanes.signal);
      await lanes.start(index, async (buffer, inner) => {
        try {
          root.chunk(index, await source.readChunk(index, buffer, inner));
        } catch (error) {
          if (!(error instanceof PermanentError) || error.code !== 'damaged_chunk') throw error;
          damaged.add(index);
          // Its place in the order is taken, so that what follows does not pile up; the root counts for nothing now.
          root.holes(index, 1);
        }
        done(chunkLength(source.size, source.chunkSize, index));
      });
    }
    await lanes.drain();
  } catch (error) {
    lanes.fail(error);
    await lanes.drain();
  } finally {
    watchdog.stop();
    lanes.close();
  }
  const rootDigest = damaged.count === 0 ? root.digest() : null;
  return {
    intact: rootDigest?.equals(expectedRoot) ?? false,
    rootDigest,
    damage: damaged.ranges(),
    damagedChunks: damaged.count,
  };
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
