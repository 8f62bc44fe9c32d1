/** Lets so many in at once; the others wait in the order they came. */
export class Gate {
  #free: number;
  readonly #waiting: { go: () => void; signal: AbortSignal; onAbort: () => void }[] = [];

  constructor(places: number) {
    this.#free = places;
  }

  /** Rejects with the signal's reason, and takes no place then. Every `enter` that resolved needs its `leave`. */
  async enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1);
        reject(signal.reason);
      };
      const entry = { go: resolve, signal, onAbort };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(entry);
    });
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#free++;
      return;
    }
    next.signal.removeEventListener('abort', next.onAbort);
    next.go();
  }
}
