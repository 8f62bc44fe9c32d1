/**
 * What an overlay knows of each block of its disk, in two bits. Kept by pages of 4096 blocks; a page whose blocks are all alike takes
 * no memory of its own, so a map costs what was written to in places, not what the disk is large.
 */
export const BLOCK_BYTES = 4096;
const PAGE_BLOCKS = 4096;

/** `base`: as the base has it. `data`: in the overlay's file. `zero`: reads as zeros. `partial`: some bytes are the overlay's. */
export const STATE = { base: 0, data: 1, zero: 2, partial: 3 } as const;
export type BlockState = (typeof STATE)[keyof typeof STATE];

export interface BlockRun {
  first: number;
  count: number;
  state: BlockState;
}

const UNIFORM: readonly Uint8Array[] = [0x00, 0x55, 0xaa, 0xff].map((byte) => new Uint8Array(PAGE_BLOCKS / 4).fill(byte));

export class BlockMap {
  readonly blocks: number;
  /** By page number: a state, or two bits a block. A page that is not here is all base. */
  readonly #pages = new Map<number, BlockState | Uint8Array>();

  constructor(blocks: number) {
    this.blocks = blocks;
  }

  get(block: number): BlockState {
    const page = this.#pages.get(Math.floor(block / PAGE_BLOCKS)) ?? STATE.base;
    return typeof page === 'number' ? page : bitsOf(page, block % PAGE_BLOCKS);
  }

  /** All of these blocks are in this state. */
  isAll(first: number, count: number, state: BlockState): boolean {
    if (count === 1) return this.get(first) === state;
    for (const run of this.runs(first, first + count)) return run.state === state && run.count === count;
    return true;
  }

  set(first: number, count: number, state: BlockState): void {
    for (let at = first; at < first + count; ) {
      const number = Math.floor(at / PAGE_BLOCKS);
      const inside = at % PAGE_BLOCKS;
      const some = Math.min(PAGE_BLOCKS - inside, first + count - at);
      if (some === PAGE_BLOCKS) this.#setWhole(number, state);
      else this.#setPart(number, inside, some, state);
      at += some;
    }
  }

  clear(): void {
    this.#pages.clear();
  }

  /** Runs of equal states from `first` on, below `end`, one after the other without gaps. Runs of `base` too. */
  *runs(first: number, end: number): Generator<BlockRun> {
    let run: BlockRun | null = null;
    for (let at = first; at < end; ) {
      const { state, until } = this.#stretch(at, end);
      if (run !== null && run.state === state) run.count += until - at;
      else {
        if (run !== null) yield run;
        run = { first: at, count: until - at, state };
      }
      at = until;
    }
    if (run !== null) yield run;
  }

  /** Runs of all but `base`; costs nothing for what was never touched. */
  *touched(): Generator<BlockRun> {
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const first = number * PAGE_BLOCKS;
      for (const run of this.runs(first, Math.min(first + PAGE_BLOCKS, this.blocks))) if (run.state !== STATE.base) yield run;
    }
  }

  /** The state at `at`, and up to which block within its page it is the same at least. */
  #stretch(at: number, end: number): { state: BlockState; until: number } {
    const number = Math.floor(at / PAGE_BLOCKS);
    const page = this.#pages.get(number) ?? STATE.base;
    const pageEnd = Math.min(end, (number + 1) * PAGE_BLOCKS);
    if (typeof page === 'number') return { state: page, until: pageEnd };
    const state = bitsOf(page, at % PAGE_BLOCKS);
    const four = UNIFORM[state]![0]!;
    let until = at + 1;
    while (until < pageEnd) {
      // Four blocks a byte.
      if ((until & 3) === 0 && until + 4 <= pageEnd && page[(until % PAGE_BLOCKS) >>> 2] === four) until += 4;
      else if (bitsOf(page, until % PAGE_BLOCKS) === state) until++;
      else break;
    }
    return { state, until };
  }

  #setWhole(number: number, state: BlockState): void {
    if (state === STATE.base) this.#pages.delete(number);
    else this.#pages.set(number, state);
  }

  #setPart(number: number, inside: number, count: number, state: BlockState): void {
    const before = this.#pages.get(number) ?? STATE.base;
    if (before === state) return;
    const page = typeof before === 'number' ? Uint8Array.from(UNIFORM[before]!) : before;
    if (page !== before) this.#pages.set(number, page);
    for (let at = inside; at < inside + count; at++) {
      const shift = (at & 3) * 2;
      page[at >>> 2] = (page[at >>> 2]! & ~(3 << shift)) | (state << shift);
    }
    // A disk that is written from end to end ends with pages that are all alike.
    if (count === 1 && inside !== PAGE_BLOCKS - 1) return;
    if (Buffer.compare(page, UNIFORM[state]!) === 0) this.#setWhole(number, state);
  }
}

function bitsOf(page: Uint8Array, at: number): BlockState {
  return ((page[at >>> 2]! >>> ((at & 3) * 2)) & 3) as BlockState;
}
