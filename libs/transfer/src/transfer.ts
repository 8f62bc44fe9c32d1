/**
 * The copy. One loop walks the source in order and starts chunks on lanes; each lane reads, asks what the target lacks, and
 * puts. Checkpoints run beside the lanes, one at a time: the writer promises what was put before the call. It ends prepared, not
 * committed: leave to commit is the caller's to get.
 */
import { chunkLength } from '@openservice/domain';
import { isHole } from '@openservice/pools';
import { Bandwidth } from './bandwidth.ts';
import { Checkpoints } from './checkpoints.ts';
import { Lanes } from './lanes.ts';
import { MissingQuery } from './missing-query.ts';
import { bytesOf, plan } from './plan.ts';
import type { TransferCounters, TransferOptions, TransferResult } from './port.ts';
import { Watchdog } from './watchdog.ts';

const STALL_LIMIT = 120_000;

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
      () => this.#bytesDone + writer.bytesSent,
      (error) => this.#lanes.fail(error),
    );
    this.#bandwidth = new Bandwidth(options.bandwidth ?? null, () => this.#watchdog.touch());
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
    for await (const step of plan(source, this.#lanes.signal)) {
      this.#lanes.throwIfFailed();
      if (step.kind === 'hole') {
        writer.hole(step.first, step.count);
        this.#skipped(bytesOf(source, step.first, step.count));
      } else if (writer.has(step.index)) {
        this.#skipped(bytesOf(source, step.index, 1));
      } else {
        await this.#bandwidth.take(bytesOf(source, step.index, 1), this.#lanes.signal);
        await this.#lanes.start(step.index, (buffer, signal) => this.#chunk(step.index, buffer, signal));
      }
    }
  }

  async #chunk(index: number, buffer: Buffer, signal: AbortSignal): Promise<void> {
    const { source, writer } = this.#options;
    const length = chunkLength(source.size, source.chunkSize, index);
    const digest = await source.readChunk(index, buffer, signal);
    signal.throwIfAborted();
    if (isHole(digest)) {
      writer.hole(index, 1);
      this.#skipped(length);
      return;
    }
    const missing = await this.#query.ask(digest);
    signal.throwIfAborted();
    // Put even where the pool holds such a chunk: that is how the writer learns which chunk of the block it is.
    await writer.put(index, digest, buffer.subarray(0, length), signal);
    if (!missing) this.#bytesSkipped += length;
    this.#done(length);
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
