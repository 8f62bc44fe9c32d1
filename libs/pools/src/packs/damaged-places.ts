/** Places in packs of which somebody found, and said, that they are damaged (docs/format.md, Repairs): nobody new relies on them. */
import type { Backend } from '../backend.ts';
import { DAMAGED_PREFIX } from './keys.ts';

export class DamagedPlaces {
  readonly #places = new Set<string>();
  readonly #packs = new Set<string>();

  static async list(backend: Backend, signal: AbortSignal): Promise<DamagedPlaces> {
    const damaged = new DamagedPlaces();
    for await (const { key } of backend.list(DAMAGED_PREFIX, signal)) {
      const [, pack = '', offset] = key.split('/');
      damaged.#places.add(`${pack}/${Number(offset)}`);
      damaged.#packs.add(pack);
    }
    return damaged;
  }

  has(pack: Buffer, offset: number): boolean {
    return this.#places.size > 0 && this.#places.has(`${pack.toString('hex')}/${offset}`);
  }

  /** `pack`: its name in hex. True when any place in it is damaged. */
  inPack(pack: string): boolean {
    return this.#packs.has(pack);
  }
}
