/** The packs that a writer knows, by its own numbers: 37 bytes each, whatever the size of the block. */
const NAME_BYTES = 32;

export class PackTable {
  #names = Buffer.alloc(64 * NAME_BYTES);
  #sizes = new Uint32Array(64);
  #used = new Uint8Array(64);
  #count = 0;

  /** A number for a pack whose name is not known yet. */
  reserve(): number {
    if (this.#count === this.#sizes.length) this.#grow();
    return this.#count++;
  }

  set(number: number, name: Buffer, size: number): void {
    name.copy(this.#names, number * NAME_BYTES);
    this.#sizes[number] = size;
  }

  name(number: number): Buffer {
    return this.#names.subarray(number * NAME_BYTES, (number + 1) * NAME_BYTES);
  }

  size(number: number): number {
    return this.#sizes[number]!;
  }

  /** Marks a pack that the manifest needs. */
  use(number: number): void {
    this.#used[number] = 1;
  }

  /** Bytes of the packs in use. */
  usedBytes(): number {
    let sum = 0;
    for (let i = 0; i < this.#count; i++) if (this.#used[i] === 1) sum += this.#sizes[i]!;
    return sum;
  }

  /** A test of whether the manifest needs a pack. */
  keeps(): (name: Buffer) => boolean {
    const needed = new Set<string>();
    for (let i = 0; i < this.#count; i++) if (this.#used[i] === 1) needed.add(this.name(i).toString('latin1'));
    return (name) => needed.has(name.toString('latin1'));
  }

  #grow(): void {
    const names = Buffer.alloc(this.#names.length * 2);
    this.#names.copy(names);
    this.#names = names;
    const sizes = new Uint32Array(this.#sizes.length * 2);
    sizes.set(this.#sizes);
    this.#sizes = sizes;
    const used = new Uint8Array(this.#used.length * 2);
    used.set(this.#used);
    this.#used = used;
  }
}
