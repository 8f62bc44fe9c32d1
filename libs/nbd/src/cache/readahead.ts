/**
 * Tells when a client reads on from where it was, and how far ahead to fetch: more with each step that proves right. What is fetched ahead
 * comes in bulks of several units: few large reads of a store are quicker than many small ones.
 */
const FIRST = 1;
const MOST = 6;
/** A read that begins this many units before the end of the last one still goes on from it. */
const SLACK = 16;
/** Several connections read a disk side by side, each in a place of its own. */
const STREAMS = 8;

interface Stream {
  /** The unit that would go on from it. */
  next: number;
  window: number;
  /** The bulk that is wanted next. */
  bulk: number;
}

export class Readahead {
  readonly #bulks: number;
  readonly #unitsPerBulk: number;
  /** The one that moved last stands last. */
  readonly #streams: Stream[] = [];
  #current: Stream | null = null;

  /** `units`: of the disk. */
  constructor(units: number, unitsPerBulk: number) {
    this.#bulks = Math.ceil(units / unitsPerBulk);
    this.#unitsPerBulk = unitsPerBulk;
  }

  /** Units `first` … `last` were read. True when there may be something to fetch ahead: ask `wanted`. */
  advance(first: number, last: number): boolean {
    const at = this.#streams.findIndex(
      (stream) => first <= stream.next && last >= stream.next - 1 && first >= stream.next - SLACK,
    );
    if (at < 0) {
      this.#current = null;
      this.#streams.push({ next: last + 1, window: 0, bulk: 0 });
      if (this.#streams.length > STREAMS) this.#streams.shift();
      return false;
    }
    const stream = this.#streams[at]!;
    // Within the same unit nothing has moved.
    if (last + 1 <= stream.next) return false;
    this.#streams.splice(at, 1);
    this.#streams.push(stream);
    stream.next = last + 1;
    stream.window = Math.min(MOST, Math.max(FIRST, stream.window * 2));
    this.#current = stream;
    return true;
  }

  /** Bulks to fetch for the stream that advanced; each is told once. */
  *wanted(): Generator<number> {
    const stream = this.#current;
    if (stream === null) return;
    const now = Math.floor(stream.next / this.#unitsPerBulk);
    const end = Math.min(this.#bulks, now + stream.window + 1);
    for (let bulk = Math.max(now, stream.bulk); bulk < end; bulk++) {
      stream.bulk = bulk + 1;
      yield bulk;
    }
  }
}
