/**
 * The cases of a pool's suite, run side by side: against a server they mostly wait, and a pool must bear many writers at once anyway. Each is
 * reported by itself. All begin before the first is reported, whichever of them mocha was asked for.
 */
const AT_ONCE = 16;

export class Cases {
  readonly #waiting: (() => Promise<void>)[] = [];
  readonly #lanes: Promise<void>[] = [];

  /** Inside a describe. */
  add(title: string, run: () => Promise<void>): void {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Told by its own `it`, which may come later.
    promise.catch(() => {});
    this.#waiting.push(() => run().then(resolve, reject));
    it(title, () => promise);
  }

  start(): void {
    const lane = async (): Promise<void> => {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) await next();
    };
    for (let i = 0; i < AT_ONCE; i++) this.#lanes.push(lane());
  }

  /** All have ended, well or not. */
  async ended(): Promise<void> {
    await Promise.all(this.#lanes);
  }
}
