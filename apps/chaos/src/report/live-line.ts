/** What goes on, in one line: drawn in place on a terminal, elsewhere a line every ten seconds. */
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
