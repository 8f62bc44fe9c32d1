/**
 * Where the chunks that this session stored lie, for as many as fit: equal chunks inside a block are stored once. A table of fixed size,
 * in which a newer chunk displaces an older one; a chunk that is not found is merely stored again.
 */
const MOST_SLOTS = 1 << 16;
const ID_BYTES = 32;

export interface PackPlace {
  /** The writer's number for the pack. */
  pack: number;
  offset: number;
  length: number;
}

export class RecentChunks {
  readonly #mask: number;
  readonly #ids: Buffer;
  /** Pack + 1 (0: empty), offset, length. */
  readonly #places: Uint32Array;

  /** `chunks`: of the block; a small one takes little memory. */
  constructor(chunks: number) {
    let slots = 64;
    while (slots < chunks * 2 && slots < MOST_SLOTS) slots *= 2;
    this.#mask = slots - 1;
    this.#ids = Buffer.alloc(slots * ID_BYTES);
    this.#places = new Uint32Array(slots * 3);
  }

  find(id: Buffer): PackPlace | null {
    const slot = id.readUInt16LE(0) & this.#mask;
    const pack = this.#places[slot * 3]!;
    if (pack === 0 || this.#ids.compare(id, 0, ID_BYTES, slot * ID_BYTES, (slot + 1) * ID_BYTES) !== 0) return null;
    return { pack: pack - 1, offset: this.#places[slot * 3 + 1]!, length: this.#places[slot * 3 + 2]! };
  }

  add(id: Buffer, place: PackPlace): void {
    const slot = id.readUInt16LE(0) & this.#mask;
    id.copy(this.#ids, slot * ID_BYTES);
    this.#places[slot * 3] = place.pack + 1;
    this.#places[slot * 3 + 1] = place.offset;
    this.#places[slot * 3 + 2] = place.length;
  }
}
