/**
 * What a session finds in the pool that others stored. The index is a hint: a chunk or segment counts only when no round of
 * collection condemned it, nobody marked it as damaged, and its objects were seen to exist since the session was registered.
 */
import type { Backend } from '../backend.ts';
import { ObjectNotFoundError } from '../backend.ts';
import { Gate } from '../gate.ts';
import { isDamaged } from './checked.ts';
import type { DamagedPlaces } from './damaged-places.ts';
import type { CollectionView } from './gc/collection-view.ts';
import type { IndexCache, IndexedPack } from './index-cache.ts';
import { packKey, sharedKey } from './keys.ts';
import { Locations, openSegment } from './segment.ts';

/** Looks at objects under way at once. */
const PROVING = 16;

export interface Found {
  name: Buffer;
  size: number;
  offset: number;
  length: number;
}

export interface FoundSegment {
  digests: Buffer;
  locations: Buffer;
}

export class PoolChunks {
  readonly #backend: Backend;
  readonly #cache: IndexCache;
  readonly #view: CollectionView;
  readonly #damaged: DamagedPlaces;
  readonly #stop: AbortSignal;
  readonly #gate = new Gate(() => PROVING);
  /** By the cache's number. */
  readonly #proved = new Map<number, Promise<IndexedPack | null>>();

  private constructor(backend: Backend, cache: IndexCache, view: CollectionView, damaged: DamagedPlaces, stop: AbortSignal) {
    this.#backend = backend;
    this.#cache = cache;
    this.#view = view;
    this.#damaged = damaged;
    this.#stop = stop;
  }

  /** Call it after the session was registered, with a view opened after that. `stop` ends what is under way later, `signal` the opening. */
  static async open(
    backend: Backend,
    cache: IndexCache,
    view: CollectionView,
    damaged: DamagedPlaces,
    stop: AbortSignal,
    signal: AbortSignal,
  ): Promise<PoolChunks> {
    await cache.sync(backend, signal);
    return new PoolChunks(backend, cache, view, damaged, stop);
  }

  async find(id: Buffer): Promise<Found | null> {
    const hit = this.#cache.chunk(id);
    if (hit === null) return null;
    const pack = await this.#prove(hit.pack);
    if (pack === null || hit.offset + hit.length > pack.size || this.#view.isVoid(pack.name)) return null;
    if (this.#damaged.has(pack.name, hit.offset)) return null;
    return { name: pack.name, size: pack.size, offset: hit.offset, length: hit.length };
  }

  /** A stored segment with these digests, every pack of it proved. */
  async findSegment(content: Buffer): Promise<FoundSegment | null> {
    const found = this.#cache.segment(content);
    if (found === null || this.#view.isVoid(found.digests) || this.#view.isVoid(found.locations)) return null;
    const keys = [sharedKey(found.digests), sharedKey(found.locations)] as const;
    let packs: readonly string[];
    try {
      const [digests, locations] = await Promise.all(keys.map((key) => this.#backend.get(key, null, this.#stop)));
      openSegment('digests', digests!, found.digests, keys[0]);
      packs = new Locations(openSegment('locations', locations!, found.locations, keys[1])).packs;
    } catch (error) {
      // Gone, or damaged: a block that needs it is found by verify; a new one makes its own.
      if (error instanceof ObjectNotFoundError || isDamaged(error)) return null;
      throw error;
    }
    const proved = await Promise.all(packs.map((pack) => this.#proveNamed(pack)));
    const good = proved.every((pack) => pack !== null && !this.#view.isVoid(pack.name));
    return good && !this.#view.isVoid(found.digests) && !this.#view.isVoid(found.locations) ? found : null;
  }

  async #proveNamed(hex: string): Promise<IndexedPack | null> {
    if (this.#damaged.inPack(hex)) return null;
    const pack = this.#cache.packNamed(Buffer.from(hex, 'hex'));
    return pack === null ? null : this.#prove(pack.number);
  }

  #prove(number: number): Promise<IndexedPack | null> {
    let proof = this.#proved.get(number);
    if (proof === undefined) {
      proof = this.#look(number);
      this.#proved.set(number, proof);
      // A failure is not kept: the next call looks again.
      proof.catch(() => this.#proved.delete(number));
    }
    return proof;
  }

  async #look(number: number): Promise<IndexedPack | null> {
    const pack = this.#cache.pack(number);
    if (pack === null) return null;
    await this.#gate.enter(1);
    try {
      return (await this.#backend.head(packKey(pack.name.toString('hex')), this.#stop)) === pack.size ? pack : null;
    } finally {
      this.#gate.leave(1);
    }
  }
}
