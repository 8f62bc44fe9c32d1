/** The segments of a block's manifest, fetched when asked for; the last used few are kept. */
import { chunkCount, PermanentError } from '@openservice/domain';
import { type Backend, ObjectNotFoundError } from '../backend.ts';
import { DIGEST_BYTES, isHole } from '../manifest.ts';
import { isDamaged } from './checked.ts';
import { locationsKey, segmentKey, sharedKey } from './keys.ts';
import { type PackedManifest, SEGMENT_ENTRY_BYTES } from './packed-manifest.ts';
import { HASH_BYTES, Locations, openPrivateSegment, openSegment, segmentLength } from './segment.ts';

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
    const shared = this.#manifest.shared;
    const keys = shared
      ? [sharedKey(digestsHash), sharedKey(locationsHash)]
      : [segmentKey(this.#blockId, this.#fence, digestsHash), locationsKey(this.#blockId, this.#fence, locationsHash)];
    const [digests, locations] = await Promise.all(keys.map((key) => this.#get(key)));
    const open = shared ? openSegment : openPrivateSegment;
    try {
      return this.#whole(segment, {
        digests: open('digests', digests!, digestsHash, keys[0]!),
        locations: new Locations(open('locations', locations!, locationsHash, keys[1]!)),
      });
    } catch (error) {
      if (!isDamaged(error)) throw error;
      throw this.#damaged((error as Error).message, error);
    }
  }

  #whole(segment: number, found: Segment): Segment {
    const chunks = segmentLength(segment, chunkCount(this.#manifest.size, this.#manifest.chunkSize));
    if (found.digests.length === chunks * DIGEST_BYTES && found.locations.chunks === chunks) return found;
    throw new PermanentError('damaged_manifest', `Segment ${segment} is of another number of chunks than the manifest says.`);
  }

  async #get(key: string): Promise<Buffer> {
    try {
      return await this.#backend.get(key, null, this.#stop);
    } catch (error) {
      if (error instanceof ObjectNotFoundError)
        throw this.#damaged(`Segment ${key} of the manifest is missing from the ${this.#backend.name}.`, error);
      if (isDamaged(error)) throw this.#damaged((error as Error).message, error);
      throw error;
    }
  }

  #damaged(why: string, cause: unknown): PermanentError {
    const message = `The manifest of block ${this.#blockId} is damaged; restore the block from another replica. ${why}`;
    return new PermanentError('damaged_manifest', message, { cause });
  }
}
