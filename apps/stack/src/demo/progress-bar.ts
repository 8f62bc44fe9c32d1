/**
 * One line of progress: bytes, share, rate, time left. On a terminal it is drawn in place; elsewhere (a log, CI) it is
 * a line every two seconds at most, and one at the end.
 */
import { formatBytes, formatClock, formatRate } from './units.ts';

export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Of the bar alone; a terminal of 80 columns has room for a short one. */
const BAR_WIDTH = { wide: 24, narrow: 6 };
const NARROW_COLUMNS = 100;
const LABEL_WIDTH = 18;
const REDRAW_MS = { terminal: 100, log: 2000 };
/** The rate is that of the last seconds, so that it shows a crash and the recovery from it. */
const RATE_WINDOW_MS = 5000;

export class ProgressBar {
  readonly #label: string;
  readonly #out: ProgressOutput;
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #samples: { at: number; done: number }[] = [];
  #done = 0;
  #total: number | null = null;
  #drawnAt: number;
  #finished = false;

  /** `now`: a clock in ms. */
  constructor(label: string, out: ProgressOutput = process.stdout, now: () => number = () => performance.now()) {
    this.#label = label;
    this.#out = out;
    this.#now = now;
    this.#startedAt = now();
    // A log gets its first line after the first interval: short steps then cost one line.
    this.#drawnAt = out.isTTY ? Number.NEGATIVE_INFINITY : this.#startedAt;
  }

  /** Bytes done of `total` (null: not known yet). `done` may fall: a job that resumes begins at its checkpoint. */
  update(done: number, total: number | null): void {
    if (this.#finished) return;
    const at = this.#now();
    this.#done = done;
    this.#total = total;
    this.#samples.push({ at, done });
    while (this.#samples.length > 2 && at - this.#samples[0]!.at > RATE_WINDOW_MS) this.#samples.shift();
    if (at - this.#drawnAt < (this.#out.isTTY ? REDRAW_MS.terminal : REDRAW_MS.log)) return;
    this.#drawnAt = at;
    this.#draw(this.#line(this.#recentRate()));
  }

  /** A line of its own above the bar. */
  note(text: string): void {
    this.#out.write(this.#out.isTTY ? `\r\x1b[K  ${text}\n` : `  ${text}\n`);
    this.#drawnAt = Number.NEGATIVE_INFINITY;
  }

  /** The last line; `bytes` of the whole step give its mean rate. Answers the step's duration in seconds. */
  finish(bytes: number, note = ''): number {
    const seconds = Math.max((this.#now() - this.#startedAt) / 1000, 0.001);
    if (this.#finished) return seconds;
    this.#finished = true;
    const mean = bytes > 0 ? `${formatBytes(bytes)}, ${formatRate(bytes / seconds)}, ` : '';
    const line = `${this.#head(1)} done: ${mean}${seconds.toFixed(1)} s${note === '' ? '' : ` (${note})`}`;
    this.#out.write(this.#out.isTTY ? `\r\x1b[K${line}\n` : `${line}\n`);
    return seconds;
  }

  /** Leaves the bar where it stands, so that the error that follows has a line of its own. */
  stop(): void {
    if (this.#finished) return;
    this.#finished = true;
    if (this.#out.isTTY) this.#out.write('\n');
  }

  #recentRate(): number | null {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last.at - first.at < 200) return null;
    return Math.max(0, (last.done - first.done) / ((last.at - first.at) / 1000));
  }

  #head(share: number): string {
    const width = (this.#out.columns ?? NARROW_COLUMNS) < NARROW_COLUMNS ? BAR_WIDTH.narrow : BAR_WIDTH.wide;
    const filled = Math.round(share * width);
    const bar = '#'.repeat(filled) + '-'.repeat(width - filled);
    return `${this.#label.padEnd(LABEL_WIDTH)} [${bar}] ${String(Math.floor(share * 100)).padStart(3)} %`;
  }

  #line(rate: number | null): string {
    if (this.#total === null) return `${this.#head(0)}  ${formatBytes(this.#done)}`;
    const share = this.#total === 0 ? 1 : Math.min(1, this.#done / this.#total);
    const left = rate === null || rate === 0 ? '-' : formatClock(Math.max(0, this.#total - this.#done) / rate);
    return `${this.#head(share)}  ${formatBytes(this.#done)} of ${formatBytes(this.#total)}  ${formatRate(rate)}  ETA ${left}`;
  }

  #draw(line: string): void {
    if (!this.#out.isTTY) {
      this.#out.write(`${line}\n`);
      return;
    }
    // A line longer than the terminal would wrap and could not be drawn over.
    const width = (this.#out.columns ?? 120) - 1;
    this.#out.write(`\r\x1b[K${line.slice(0, width)}`);
  }
}
