/** How long the stack takes to be well again after the last fault of a time of faults has ended. */
import type { World } from '../stack/world.ts';

const EVERY_MS = 500;

export class Recovery {
  longestMs = 0;
  readonly #timer: NodeJS.Timeout;
  #since: number | null = null;
  #asking = false;

  constructor(world: World, active: () => number) {
    this.#timer = setInterval(() => void this.#look(world, active), EVERY_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(world: World, active: () => number): Promise<void> {
    if (active() > 0) {
      this.#since = null;
      return;
    }
    this.#since ??= performance.now();
    if (this.#asking) return;
    this.#asking = true;
    try {
      const since = this.#since;
      if (await world.healthy()) {
        if (!this.#well) this.longestMs = Math.max(this.longestMs, performance.now() - since);
        this.#well = true;
      } else this.#well = false;
    } finally {
      this.#asking = false;
    }
  }

  #well = true;
}
