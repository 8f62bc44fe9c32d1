/**
 * Memory for the requests and replies of all connections to one disk: clients of one disk cannot starve those of another, and a thousand
 * clients that ask for much and take nothing hold no more than this and SHARE each.
 */

/** Bytes that every connection may hold whatever the others do: small requests always go on. */
export const SHARE = 256 * 1024;
/** Three of the largest requests. */
const LIMIT = 96 * 1024 * 1024;

export class Budget {
  readonly #limit: number;
  readonly #waiting = new Set<() => void>();
  #used = 0;
  #planned = false;

  constructor(limit = LIMIT) {
    this.#limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** One alone always has room. */
  hasRoom(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.#limit;
  }

  /** `change` may be negative: whoever waits is told, in a later turn. */
  charge(change: number): void {
    this.#used += change;
    if (change >= 0 || this.#waiting.size === 0 || this.#planned) return;
    this.#planned = true;
    setImmediate(() => {
      this.#planned = false;
      const waiting = [...this.#waiting];
      this.#waiting.clear();
      for (const wake of waiting) wake();
    });
  }

  /** `wake` is called once, when some was given back. */
  wait(wake: () => void): void {
    this.#waiting.add(wake);
  }

  leave(wake: () => void): void {
    this.#waiting.delete(wake);
  }
}
