/** What goes on, in one line: drawn in place on a terminal, elsewhere a line every ten seconds. */
import type { Model } from '../model/model.ts';

const EVERY_MS = { terminal: 500, log: 10_000 };

export class LiveLine {
  readonly #out: NodeJS.WriteStream;
  readonly #text: () => string;
  readonly #timer: NodeJS.Timeout;

  constructor(text: () => string, out: NodeJS.WriteStream = process.stdout) {
    this.#out = out;
    this.#text = text;
    this.#timer = setInterval(() => this.#draw(), out.isTTY ? EVERY_MS.terminal : EVERY_MS.log);
    this.#timer.unref();
  }

  /** A line that stays. */
  say(line: string): void {
    this.#out.write(this.#out.isTTY ? `\r\x1b[2K${line}\n` : `${line}\n`);
  }

  end(): void {
    clearInterval(this.#timer);
    if (this.#out.isTTY) this.#out.write('\r\x1b[2K');
  }

  #draw(): void {
    const text = this.#text();
    this.#out.write(this.#out.isTTY ? `\r\x1b[2K${text.slice(0, (this.#out.columns ?? 80) - 1)}` : `${text}\n`);
  }
}

export interface Status {
  phase: string;
  /** Jobs that run by the center's rows, once the clients do nothing more. */
  running: number;
  /** Faults that go on now. */
  active: () => readonly string[];
  models: readonly Model[];
}

/** `since`: when the run began, on performance.now()'s clock. */
export function statusText({ phase, running, active, models }: Status, since: number): string {
  const sum = (of: (model: Model) => number): number => models.reduce((all, model) => all + of(model), 0);
  const seconds = Math.round((performance.now() - since) / 1000);
  const faults = active();
  const now = faults.length > 0 ? `  now: ${faults.join(', ')}` : '';
  const busy = running > 0 ? running : sum((model) => model.runningJobs.length);
  return `${seconds} s  ${phase}  jobs ${sum((model) => model.jobs.size)} (${busy} running)  blocks ${sum((model) => model.blocks.size)}${now}`;
}
