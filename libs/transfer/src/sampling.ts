/** Picks a part of what passes by: one at random out of every 1/part, so that the picks are spread over the whole. */
export class Picker {
  readonly #stride: number;
  #seen = 0;
  #base = 0;
  #pick: number;

  /** `part`: more than 0; 1 picks all. */
  constructor(part: number) {
    this.#stride = 1 / Math.min(1, part);
    this.#pick = Math.floor(Math.random() * this.#stride);
  }

  next(): boolean {
    const picked = this.#seen >= this.#pick;
    this.#seen++;
    if (picked) {
      this.#base += this.#stride;
      this.#pick = Math.max(this.#seen, Math.floor(this.#base + Math.random() * this.#stride));
    }
    return picked;
  }
}
