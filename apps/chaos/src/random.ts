/** Numbers from a seed: the same words give the same numbers on every machine. */
import { createHash } from 'node:crypto';

export class Random {
  readonly #state: Uint32Array;

  /** `words`: what these numbers are for; other words, other numbers. */
  constructor(...words: (string | number)[]) {
    const digest = createHash('sha256').update(words.join('\0')).digest();
    this.#state = Uint32Array.from([0, 4, 8], (at) => digest.readUInt32LE(at));
    this.#counter = digest.readUInt32LE(12);
  }

  #counter: number;

  /** 0 up to 2^32 - 1 (sfc32). */
  uint32(): number {
    const s = this.#state;
    const [a, b, c] = [s[0] ?? 0, s[1] ?? 0, s[2] ?? 0];
    const out = (a + b + this.#counter) >>> 0;
    this.#counter = (this.#counter + 1) >>> 0;
    s[0] = b ^ (b >>> 9);
    s[1] = c + (c << 3);
    s[2] = ((c << 21) | (c >>> 11)) + out;
    return out;
  }

  /** 0 up to 1, 1 left out. */
  next(): number {
    return this.uint32() / 2 ** 32;
  }

  /** From `least` to `most`, both included. */
  int(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  /** Undefined of an empty list; a number is drawn either way, so that what comes after stays the same. */
  maybe<T>(list: readonly T[]): T | undefined {
    return list[Math.floor(this.next() * list.length)];
  }

  pick<T>(list: readonly T[]): T {
    const one = this.maybe(list);
    if (one === undefined) throw new Error('There is nothing to pick from.');
    return one;
  }

  /** One of `list`, each as often as its weight says. */
  weighted<T extends { readonly weight: number }>(list: readonly T[]): T {
    let at = this.next() * list.reduce((sum, { weight }) => sum + weight, 0);
    for (const one of list) {
      at -= one.weight;
      if (at < 0) return one;
    }
    return this.pick(list);
  }

  bytes(length: number): Buffer {
    const words = new Uint32Array(Math.ceil(length / 4));
    for (let i = 0; i < words.length; i++) words[i] = this.uint32();
    return Buffer.from(words.buffer, 0, length);
  }
}
