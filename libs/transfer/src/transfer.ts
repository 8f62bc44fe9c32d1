/**
 * The copy. One loop walks the source in order and starts chunks on lanes; each lane reads, asks what the target lacks, and
 * puts. Where the source knows a digest without reading, the target is asked first, and what it has is not read; where both ends store chunks
 * in frames, they travel as they are. Checkpoints run beside the lanes, one at a time: the writer promises what was put before the call. It ends prepared, not
 * committed: leave to commit is the caller's to get.
 */
import { chunkLength, PermanentError } from '@openservice/domain';
import { isHole } from '@openservice/pools';
import { type AheadStep, ahead, type KnownStep } from './ahead.ts';
import { Bandwidth } from './bandwidth.ts';
import { Checkpoints } from './checkpoints.ts';
import { Lanes } from './lanes.ts';
import { MissingQuery } from './missing-query.ts';
import { bytesOf } from './plan.ts';
import type { TransferCounters, TransferOptions, TransferResult } from './port.ts';
import { Watchdog } from './watchdog.ts';

const STALL_LIMIT = 120_000;
const NO_BYTES = Buffer.alloc(0);

/**
 * Copies all of `source` into `writer` and prepares it. Throws the first error of any part, when every other part has ended:
 * the source's and the writer's own, TransientError `stalled`, or the reason of `signal`. Closes neither source nor writer.
 */
export async function transfer(options: TransferOptions): Promise<TransferResult> {
  const run = new Run(options);
  try {
    return await run.all();
  } finally {
    run.close();
  }
}

class Run {
  readonly #options: TransferOptions;
  readonly #lanes: Lanes;
  readonly #query: MissingQuery;
  readonly #bandwidth: Bandwidth;
  readonly #watchdog: Watchdog;
  readonly #checkpoints: Checkpoints;
  #bytesDone = 0;
  #bytesSkipped = 0;

  constructor(options: TransferOptions) {
    const { source, writer, signal, window } = options;
    this.#options = options;
    this.#lanes = new Lanes({ window, chunkSize: source.chunkSize, signal });
    this.#query = new MissingQuery(writer);
    this.#watchdog = new Watchdog(
      options.stallLimit ?? STALL_LIMIT,
      () => this.#bytesDone + writer.bytesSent + (source.activity ?? 0),
      (error) => this.#lanes.fail(error),
    );
    this.#bandwidth = new Bandwidth(options.bandwidth ?? null, options.limits ?? [], () => this.#watchdog.touch());
    this.#checkpoints = new Checkpoints(
      async () => {
        await writer.checkpoint(this.#lanes.signal);
        await options.onCheckpoint?.(this.#counters());
      },
      (error) => this.#lanes.fail(error),
    );
  }

  async all(): Promise<TransferResult> {
    const { writer, onPreparing } = this.#options;
    try {
      await this.#copy();
      await this.#lanes.drain();
      await this.#checkpoints.finish();
      this.#lanes.throwIfFailed();
      await onPreparing?.();
      const prepared = await writer.prepare(this.#lanes.signal);
      this.#lanes.throwIfFailed();
      return { ...prepared, counters: this.#counters() };
    } catch (error) {
      this.#lanes.fail(error);
      await this.#checkpoints.finish();
      await this.#lanes.drain();
      throw error;
    }
  }

  close(): void {
    this.#checkpoints.stop();
    this.#watchdog.stop();
    this.#lanes.close();
  }

  async #copy(): Promise<void> {
    const { source, writer } = this.#options;
    for await (const step of ahead(source, writer, this.#lanes.signal)) {
      this.#lanes.throwIfFailed();
      await this.#step(step);
    }
  }

  async #step(step: AheadStep): Promise<void> {
    const { source, writer } = this.#options;
    if (step.kind === 'hole') {
      writer.hole(step.first, step.count);
      this.#skipped(bytesOf(source, step.first, step.count));
    } else if (step.kind === 'done') {
      this.#skipped(bytesOf(source, step.index, 1));
    } else {
      await this.#options.beforeChunk?.();
      await this.#lanes.start(step.index, (buffer, signal) => this.#chunk(step, buffer, signal));
    }
  }

  async #chunk(step: KnownStep, buffer: Buffer, signal: AbortSignal): Promise<void> {
    const length = chunkLength(this.#options.source.size, this.#options.source.chunkSize, step.index);
    if (step.digest !== null && (await this.#withoutReading(step, step.digest, signal))) return this.#skipped(length);
    await this.#bandwidth.take(length, signal);
    if (await this.#asStored(step.index, length, signal)) return this.#done(length);
    await this.#throughBuffer(step, buffer.subarray(0, length), signal);
  }

  /** True when the target has the chunk: not a byte of it was read. */
  async #withoutReading(step: KnownStep, digest: Buffer, signal: AbortSignal): Promise<boolean> {
    const { writer } = this.#options;
    if (isHole(digest)) {
      writer.hole(step.index, 1);
      return true;
    }
    if (writer.holds !== undefined) return writer.holds(step.index, digest, signal);
    if (step.missing) return false;
    try {
      // Put even where the pool holds such a chunk: that is how the writer learns which chunk of the block it is.
      await writer.put(step.index, digest, NO_BYTES, signal);
      return true;
    } catch (error) {
      // It is gone since the target was asked.
      if (error instanceof PermanentError && error.code === 'chunk_bytes_needed') return false;
      throw error;
    }
  }

  /** False where one of the ends does not store it in frames. */
  async #asStored(index: number, length: number, signal: AbortSignal): Promise<boolean> {
    const { source, writer } = this.#options;
    if (source.readStored === undefined || writer.putStored === undefined) return false;
    const stored = await source.readStored(index, signal);
    if (stored === null) return false;
    signal.throwIfAborted();
    this.#bandwidth.giveBack(length - stored.bytes.length);
    await writer.putStored(index, stored, signal);
    return true;
  }

  async #throughBuffer(step: KnownStep, bytes: Buffer, signal: AbortSignal): Promise<void> {
    const { source, writer } = this.#options;
    const digest = await source.readChunk(step.index, bytes, signal);
    signal.throwIfAborted();
    if (isHole(digest)) {
      writer.hole(step.index, 1);
      return this.#skipped(bytes.length);
    }
    // Where it was known, the target was asked before.
    if (step.digest === null && writer.holds !== undefined && (await writer.holds(step.index, digest, signal))) {
      return this.#skipped(bytes.length);
    }
    const missing = step.digest !== null || (await this.#query.ask(digest));
    signal.throwIfAborted();
    await writer.put(step.index, digest, bytes, signal);
    if (!missing) this.#bytesSkipped += bytes.length;
    this.#done(bytes.length);
  }

  #skipped(bytes: number): void {
    this.#bytesSkipped += bytes;
    this.#done(bytes);
  }

  #done(bytes: number): void {
    this.#bytesDone += bytes;
    this.#checkpoints.moved(bytes);
    this.#options.onProgress?.(this.#counters());
  }

  #counters(): TransferCounters {
    return {
      bytesTotal: this.#options.source.size,
      bytesDone: this.#bytesDone,
      bytesSent: this.#options.writer.bytesSent,
      bytesSkipped: this.#bytesSkipped,
    };
  }
}
