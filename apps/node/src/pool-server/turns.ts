/** Steps of one name run one after the other. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  async run<T>(name: string, step: () => Promise<T>): Promise<T> {
    const before = this.#last.get(name) ?? Promise.resolve();
    const run = before.then(step, step);
    const done = run.catch(() => undefined);
    this.#last.set(name, done);
    try {
      return await run;
    } finally {
      if (this.#last.get(name) === done) this.#last.delete(name);
    }
  }
}
