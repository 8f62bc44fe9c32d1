/**
 * What the blocks of a packs pool need, read from the bare objects at each change: so that the moment is known at which something that is
 * needed goes, or a block is committed that lacks something.
 */

import { packKey, sharedKey } from '../../src/packs/keys.ts';
import { decodePackedManifest, SEGMENT_ENTRY_BYTES } from '../../src/packs/packed-manifest.ts';
import { HASH_BYTES, Locations, openSegment } from '../../src/packs/segment.ts';

type Fail = (error: Error) => void;

export class References {
  readonly #objects: ReadonlyMap<string, Buffer>;
  /** Which keys each block needs. */
  readonly #needs = new Map<string, ReadonlySet<string>>();

  constructor(objects: ReadonlyMap<string, Buffer>) {
    this.#objects = objects;
  }

  removed(key: string, fail: Fail): void {
    if (key.includes('/ledger/')) this.#look(key, fail);
    for (const [block, needs] of this.#needs) if (needs.has(key)) fail(new Error(`${key} was removed, which ${block} needs`));
  }

  written(key: string, fail: Fail): void {
    if (key.includes('/ledger/')) this.#look(key, fail);
  }

  /** Throws where there is anything that no block needs, ledgers and the collection's own lists left out. */
  expectNothingElse(): void {
    const needed = new Set(['pool.json']);
    for (const needs of this.#needs.values()) for (const key of needs) needed.add(key);
    for (const key of this.#objects.keys()) {
      if (needed.has(key) || /^blocks\/[^/]+\/ledger\/|^(?:gc|condemned|deleting|index)\//.test(key)) continue;
      throw new Error(`${key} is left over`);
    }
  }

  #look(key: string, fail: Fail): void {
    const block = key.split('/')[1]!;
    const prefix = `blocks/${block}/ledger/`;
    const last = [...this.#objects.keys()]
      .filter((other) => other.startsWith(prefix))
      .sort()
      .at(-1);
    if (last === undefined) return;
    const entry = JSON.parse(this.#objects.get(last)!.toString()) as { state: string; detail: { manifest: string } };
    if (entry.state !== 'committed' && entry.state !== 'trashed') {
      this.#needs.delete(block);
      return;
    }
    const needs = this.#neededBy(entry.detail.manifest);
    this.#needs.set(block, needs);
    for (const need of needs)
      if (!this.#objects.has(need)) fail(new Error(`${block} is ${entry.state}, but ${need} is not there`));
  }

  #neededBy(manifestKey: string): Set<string> {
    const needs = new Set([manifestKey]);
    const stored = this.#objects.get(manifestKey);
    if (stored === undefined) return needs;
    const { segments } = decodePackedManifest(stored, manifestKey);
    for (let at = 0; at < segments.length; at += SEGMENT_ENTRY_BYTES) {
      const name = segments.subarray(at + HASH_BYTES, at + SEGMENT_ENTRY_BYTES);
      const digests = segments.subarray(at, at + HASH_BYTES);
      if (digests.every((byte) => byte === 0)) continue;
      needs.add(sharedKey(digests)).add(sharedKey(name));
      const locations = this.#objects.get(sharedKey(name));
      if (locations === undefined) continue;
      for (const pack of new Locations(openSegment('locations', locations, name, manifestKey)).packs) needs.add(packKey(pack));
    }
    return needs;
  }
}
