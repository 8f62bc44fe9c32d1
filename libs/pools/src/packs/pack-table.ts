/** The packs that a writer knows, by its own numbers: its own, and those of the pool that it found chunks in. */
const NAME_BYTES = 32;

export class PackTable {
  #names = Buffer.alloc(64 * NAME_BYTES);
  #sizes = new Uint32Array(64);
  #used = new Uint8Array(64);
  #foreign = new Uint8Array(64);
  /** Numbers of found packs by name. */
  readonly #found = new Map<string, number>();
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

  /** The number of a pack that another session wrote. */
  found(name: Buffer, size: number): number {
    const key = name.toString('latin1');
    const known = this.#found.get(key);
    if (known !== undefined) return known;
    const number = this.reserve();
    this.set(number, name, size);
    this.#foreign[number] = 1;
    this.#found.set(key, number);
    return number;
  }

  isOwn(number: number): boolean {
    return this.#foreign[number] === 0;
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

  /** Bytes of the own packs in use. */
  ownBytes(): number {
    let sum = 0;
    for (let i = 0; i < this.#count; i++) if (this.#used[i] === 1 && this.#foreign[i] === 0) sum += this.#sizes[i]!;
    return sum;
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
    const foreign = new Uint8Array(this.#foreign.length * 2);
    foreign.set(this.#foreign);
    this.#foreign = foreign;
  }
}
