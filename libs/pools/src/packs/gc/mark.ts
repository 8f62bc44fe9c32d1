/** Marks all packs and segments that blocks and open sessions refer to. */
import { type Backend, ObjectNotFoundError } from '../../backend.ts';
import { Ledger, type LedgerHead } from '../../ledger.ts';
import { isHole } from '../../manifest.ts';
import { isDamaged } from '../checked.ts';
import { BLOCKS_PREFIX, fenceOf, ledgerPrefix, locationsKey, manifestOf, sessionPrefix, sharedKey } from '../keys.ts';
import { decodePackedManifest, SEGMENT_ENTRY_BYTES, segmentOffsets } from '../packed-manifest.ts';
import { HASH_BYTES, Locations, openPrivateSegment, openSegment } from '../segment.ts';
import { decodeSessionRecord } from '../session-record.ts';
import { sideBySide } from '../side-by-side.ts';
import type { Snapshot } from './snapshot.ts';

export interface Unreadable {
  blockId: string;
  message: string;
}

/** A block that changes each time it is looked at is looked at this often. */
const MOST_LOOKS = 100;
/** Segments or records read at once for each of the blocks that are looked at side by side. */
const IN_A_BLOCK = 4;

/** Every block's id, once. */
export async function* blockIds(backend: Backend, signal: AbortSignal): AsyncGenerator<string> {
  let last = '';
  for await (const { key } of backend.list(BLOCKS_PREFIX, signal)) {
    const blockId = key.split('/')[1] ?? '';
    if (blockId !== '' && blockId !== last) yield blockId;
    last = blockId;
  }
}

export class Marker {
  readonly #backend: Backend;
  readonly #snapshot: Snapshot;
  readonly #pass: number;
  readonly #signal: AbortSignal;

  /** `pass`: 1 or more; each pass marks anew. */
  constructor(backend: Backend, snapshot: Snapshot, pass: number, signal: AbortSignal) {
    this.#backend = backend;
    this.#snapshot = snapshot;
    this.#pass = pass;
    this.#signal = signal;
  }

  /** Answers the blocks that could not be marked from: while there is one, nothing may be deleted. */
  async all(onBlock: () => void): Promise<Unreadable[]> {
    const unreadable: Unreadable[] = [];
    await sideBySide(blockIds(this.#backend, this.#signal), async (blockId) => {
      try {
        await this.#block(blockId);
      } catch (error) {
        if (!(error instanceof ObjectNotFoundError) && !isDamaged(error)) throw error;
        unreadable.push({ blockId, message: (error as Error).message });
      }
      onBlock();
    });
    return unreadable;
  }

  /** Looked at again until it did not change meanwhile: what it refers to moves from records to manifest when it is committed. */
  async #block(blockId: string): Promise<void> {
    const ledger = new Ledger(this.#backend, ledgerPrefix(blockId));
    let head = await ledger.head(this.#signal);
    for (let looks = 0; ; looks++) {
      let failure: unknown = null;
      try {
        await this.#references(blockId, head);
      } catch (error) {
        failure = error;
      }
      const after = await ledger.head(this.#signal);
      if (after.number === head.number) {
        if (failure !== null) throw failure;
        return;
      }
      if (looks === MOST_LOOKS) throw failure ?? new Error(`block ${blockId} changes without end`);
      head = after;
    }
  }

  async #references(blockId: string, { entry }: LedgerHead): Promise<void> {
    if (entry === null || entry.state === 'removed') return;
    if (entry.state === 'open') return this.#session(blockId, Number(entry.detail.since ?? entry.fence), entry.fence);
    const key = manifestOf(blockId, entry);
    const manifest = decodePackedManifest(await this.#backend.get(key, null, this.#signal), key);
    const fence = fenceOf(key) ?? entry.fence;
    const mark = async (at: number): Promise<void> => {
      const digests = manifest.segments.subarray(at, at + HASH_BYTES);
      const locations = manifest.segments.subarray(at + HASH_BYTES, at + SEGMENT_ENTRY_BYTES);
      if (isHole(digests)) return;
      if (manifest.shared) {
        this.#snapshot.mark(digests, this.#pass);
        await this.#locations(locations);
      } else {
        const segment = locationsKey(blockId, fence, locations);
        const stored = await this.#backend.get(segment, null, this.#signal);
        this.#packs(openPrivateSegment('locations', stored, locations, segment));
      }
    };
    await sideBySide(segmentOffsets(manifest), mark, IN_A_BLOCK);
  }

  async #session(blockId: string, since: number, fence: number): Promise<void> {
    const mark = async ({ key }: { key: string }): Promise<void> => {
      const of = fenceOf(key);
      if (of === null || of < since || of > fence) return;
      const record = decodeSessionRecord(await this.#backend.get(key, null, this.#signal), key);
      for (const pack of record.packs) this.#snapshot.mark(pack.name, this.#pass);
      for (const segment of record.segments) {
        this.#snapshot.mark(segment.digests, this.#pass);
        await this.#locations(segment.locations);
      }
    };
    await sideBySide(this.#backend.list(sessionPrefix(blockId), this.#signal), mark, IN_A_BLOCK);
  }

  /** Once a pass: blocks share it, and the packs that it names. Marked last, so that who finds it marked need not look at its packs. */
  async #locations(name: Buffer): Promise<void> {
    if (this.#snapshot.isMarked(name, this.#pass)) return;
    const key = sharedKey(name);
    this.#packs(await openSegment('locations', await this.#backend.get(key, null, this.#signal), name, key));
    this.#snapshot.mark(name, this.#pass);
  }

  #packs(locations: Buffer): void {
    for (const pack of new Locations(locations).packs) this.#snapshot.mark(Buffer.from(pack, 'hex'), this.#pass);
  }
}
