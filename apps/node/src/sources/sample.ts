/** Draws some of many numbers that come one by one, each as likely as any other (Vitter's reservoir), the same for the same seed. */
import { createHash } from 'node:crypto';

export class Sample {
  readonly #bounds: { part: number; least: number; most: number };
  readonly #random: () => number;
  readonly #kept: number[] = [];
  #offered = 0;

  /** `part` of what is offered, but at least and at most so many. */
  constructor(seed: string, bounds: { part: number; least: number; most: number }) {
    this.#bounds = bounds;
    this.#random = randomFrom(seed);
  }

  offer(value: number): void {
    this.#offered++;
    if (this.#kept.length < this.#bounds.most) {
      this.#kept.push(value);
      return;
    }
    const at = Math.floor(this.#random() * this.#offered);
    if (at < this.#bounds.most) this.#kept[at] = value;
  }

  /** Ascending. */
  drawn(): number[] {
    const { part, least, most } = this.#bounds;
    const count = Math.min(most, Math.max(least, Math.ceil(this.#offered * part)), this.#kept.length);
    for (let i = 0; i < count; i++) {
      const j = i + Math.floor(this.#random() * (this.#kept.length - i));
      [this.#kept[i], this.#kept[j]] = [this.#kept[j] as number, this.#kept[i] as number];
    }
    return this.#kept.slice(0, count).sort((a, b) => a - b);
  }
}

/** xorshift128 (Marsaglia, 2003) from 128 bits of the seed's digest; numbers in [0, 1). */
function randomFrom(seed: string): () => number {
  const digest = createHash('sha256').update(seed).digest();
  let [x, y, z, w] = [0, 4, 8, 12].map((at) => digest.readUInt32LE(at) | 1) as [number, number, number, number];
  return () => {
    const t = x ^ (x << 11);
    [x, y, z] = [y, z, w];
    w = w ^ (w >>> 19) ^ t ^ (t >>> 8);
    return (w >>> 0) / 0x1_0000_0000;
  };
}
