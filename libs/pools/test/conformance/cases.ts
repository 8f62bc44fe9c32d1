/**
 * Cases of a group, run side by side: against a server they mostly wait, and a pool must bear many writers at once anyway. Each is reported
 * by itself. They begin with the first that mocha comes to, after all `before` hooks of the group.
 */
const AT_ONCE = 10;

interface Case {
  run: () => Promise<void>;
  done: Promise<void> | null;
}

export class Cases {
  readonly #cases: Case[] = [];
  readonly #all: Promise<void>[] = [];

  add(title: string, run: () => Promise<void>): void {
    const one: Case = { run, done: null };
    this.#cases.push(one);
    it(title, () => {
      this.#start();
      return one.done!;
    });
  }

  /** For the group's `after`: none is under way any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#all);
  }

  #start(): void {
    if (this.#all.length > 0) return;
    const lanes = Array.from({ length: AT_ONCE }, () => Promise.resolve());
    for (const [i, one] of this.#cases.entries()) {
      const lane = i % AT_ONCE;
      one.done = lanes[lane]!.then(() => one.run());
      // Told by its own `it`; the next of the lane runs all the same.
      lanes[lane] = one.done.catch(() => {});
      this.#all.push(one.done);
    }
  }
}
