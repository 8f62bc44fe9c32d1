/** The segments of a block's manifest, fetched when asked for; the last used few are kept. */
import type { Backend } from '../backend.ts';
import { isHole } from '../manifest.ts';
import { locationsKey, segmentKey } from './keys.ts';
import { type PackedManifest, SEGMENT_ENTRY_BYTES } from './packed-manifest.ts';
import { HASH_BYTES, Locations, unpackSegment } from './segment.ts';

/** About 180 KiB each. */
const KEPT = 16;

export interface Segment {
  digests: Buffer;
  locations: Locations;
}

export class SegmentCache {
  readonly #backend: Backend;
  readonly #blockId: string;
  readonly #fence: number;
  readonly #manifest: PackedManifest;
  readonly #stop: AbortSignal;
  readonly #kept = new Map<number, Promise<Segment>>();

  constructor(backend: Backend, blockId: string, fence: number, manifest: PackedManifest, stop: AbortSignal) {
    this.#backend = backend;
    this.#blockId = blockId;
    this.#fence = fence;
    this.#manifest = manifest;
    this.#stop = stop;
  }

  /** True for a segment of holes alone; costs nothing. */
  isHole(segment: number): boolean {
    const at = segment * SEGMENT_ENTRY_BYTES;
    return isHole(this.#manifest.segments.subarray(at, at + HASH_BYTES));
  }

  get(segment: number): Promise<Segment> {
    let found = this.#kept.get(segment);
    this.#kept.delete(segment);
    if (found === undefined) {
      found = this.#fetch(segment);
      // A failure is not kept: the next call asks again.
      found.catch(() => this.#kept.delete(segment));
    }
    this.#kept.set(segment, found);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    return found;
  }

  async #fetch(segment: number): Promise<Segment> {
    const at = segment * SEGMENT_ENTRY_BYTES;
    const digestsHash = this.#manifest.segments.subarray(at, at + HASH_BYTES);
    const locationsHash = this.#manifest.segments.subarray(at + HASH_BYTES, at + SEGMENT_ENTRY_BYTES);
    const keys = [
      segmentKey(this.#blockId, this.#fence, digestsHash),
      locationsKey(this.#blockId, this.#fence, locationsHash),
    ] as const;
    const [digests, locations] = await Promise.all(keys.map((key) => this.#backend.get(key, null, this.#stop)));
    return {
      digests: await unpackSegment(digests!, digestsHash, keys[0]),
      locations: new Locations(await unpackSegment(locations!, locationsHash, keys[1])),
    };
  }
}
