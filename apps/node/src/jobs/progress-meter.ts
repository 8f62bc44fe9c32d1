/** Counters of a transfer as people see them: with a rate over the last seconds, the time left, and what earlier runs sent. */
import type { Progress } from '@openservice/protocol';
import type { TransferCounters } from '@openservice/transfer';

const SPAN = 5_000;
/** ms between two samples that are kept. */
const GRAIN = 250;

export class ProgressMeter {
  readonly #sentBefore: number;
  readonly #now: () => number;
  readonly #samples: { at: number; done: number }[] = [];

  /** `sentBefore`: bytes that earlier runs of the job sent. `now` in ms, monotonic. */
  constructor(sentBefore: number, now: () => number = () => performance.now()) {
    this.#sentBefore = sentBefore;
    this.#now = now;
    this.#samples.push({ at: now(), done: 0 });
  }

  read(counters: TransferCounters): Progress {
    const rate = this.#rate(counters.bytesDone);
    // What is read (a pool, say) may have grown since it was counted.
    const total = Math.max(counters.bytesTotal, counters.bytesDone);
    const left = total - counters.bytesDone;
    return {
      bytes_total: total,
      bytes_done: counters.bytesDone,
      bytes_sent: this.#sentBefore + counters.bytesSent,
      bytes_skipped: counters.bytesSkipped,
      rate: Math.round(rate),
      eta_ms: left === 0 ? 0 : rate > 0 ? Math.min(Math.ceil((left / rate) * 1000), Number.MAX_SAFE_INTEGER) : null,
    };
  }

  #rate(done: number): number {
    const at = this.#now();
    while (this.#samples.length > 1 && at - (this.#samples[1]?.at ?? at) >= SPAN) this.#samples.shift();
    const oldest = this.#samples[0] ?? { at, done };
    if (at - (this.#samples.at(-1)?.at ?? 0) >= GRAIN) this.#samples.push({ at, done });
    return at > oldest.at ? Math.max(0, ((done - oldest.done) / (at - oldest.at)) * 1000) : 0;
  }
}
