/** A block that is a copy of another in the same pool: a manifest of its own over the same segments. No data moves. */
import { TransientError } from '@openservice/domain';
import type { Ledger } from '../ledger.ts';
import { HOLE_DIGEST, isHole } from '../manifest.ts';
import type { BlockWriter, Prepared, WriteSession } from '../pool.ts';
import { CollectionView } from './gc/collection-view.ts';
import { fenceOf, manifestKey, sessionKey, sessionPrefix, sharedKey } from './keys.ts';
import { commitSession, type PoolParts, register } from './open-writing.ts';
import { encodePackedManifest, type PackedManifest, SEGMENT_ENTRY_BYTES, segmentOffsets } from './packed-manifest.ts';
import { HASH_BYTES, Locations, openSegment } from './segment.ts';
import { encodeSessionRecord, type SessionSegment } from './session-record.ts';
import { sideBySide } from './side-by-side.ts';
import { sweepBlock } from './sweep.ts';

/** `source`: the manifest of a committed block whose segments are shared. */
export async function openCloning(
  pool: PoolParts,
  source: () => Promise<PackedManifest>,
  session: WriteSession,
  signal: AbortSignal,
): Promise<BlockWriter> {
  const registered = await register(pool, session, signal);
  if (registered.writer !== null) return registered.writer;
  const { backend } = pool;
  const view = await CollectionView.open(backend, signal, pool.blind);
  await view.ack(session.blockId, session.fence, signal);
  // Read after the view: what a later round condemns, it condemns with this session in sight.
  const manifest = await source();
  const segments = await segmentsOf(pool, manifest, view, signal);
  let sequence = 1;
  for await (const { key } of backend.list(sessionPrefix(session.blockId), signal)) {
    if (fenceOf(key) === session.fence) sequence = Number(key.slice(-8)) + 1;
  }
  const record = encodeSessionRecord({ packs: [], entries: [], holes: [], segments });
  await backend.put(sessionKey(session.blockId, session.fence, sequence), record, signal);
  return new CloneWriter(pool, session, manifest, registered.ledger, view);
}

/** PermanentError or TransientError where the block cannot be relied on now. */
async function segmentsOf(
  { backend }: PoolParts,
  manifest: PackedManifest,
  view: CollectionView,
  signal: AbortSignal,
): Promise<SessionSegment[]> {
  const underWay = (): TransientError =>
    new TransientError(
      'collection_under_way',
      'The pool is being collected and may free what this copy would share; it is tried again.',
    );
  const prove = async (at: number): Promise<SessionSegment | null> => {
    const digests = manifest.segments.subarray(at, at + HASH_BYTES);
    const locations = manifest.segments.subarray(at + HASH_BYTES, at + SEGMENT_ENTRY_BYTES);
    if (isHole(digests)) return null;
    if (view.isVoid(digests) || view.isVoid(locations)) throw underWay();
    const key = sharedKey(locations);
    const { packs } = new Locations(openSegment('locations', await backend.get(key, null, signal), locations, key));
    if (packs.some((pack) => view.isVoid(Buffer.from(pack, 'hex')))) throw underWay();
    // Of no use to anybody: only own segments are indexed by their content.
    return { own: false, content: HOLE_DIGEST, digests, locations };
  };
  const segments: SessionSegment[] = [];
  await sideBySide(segmentOffsets(manifest), async (at) => {
    const segment = await prove(at);
    if (segment !== null) segments.push(segment);
  });
  return segments;
}

class CloneWriter implements BlockWriter {
  readonly bytesSent = 0;
  readonly #pool: PoolParts;
  readonly #session: WriteSession;
  readonly #manifest: PackedManifest;
  readonly #ledger: Ledger;
  readonly #view: CollectionView;

  constructor(pool: PoolParts, session: WriteSession, manifest: PackedManifest, ledger: Ledger, view: CollectionView) {
    this.#pool = pool;
    this.#session = session;
    this.#manifest = manifest;
    this.#ledger = ledger;
    this.#view = view;
  }

  has(): boolean {
    return true;
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    return digests.map(() => false);
  }

  async put(): Promise<void> {}

  hole(): void {}

  /** All that it relies on was recorded when it was opened, so that no collection need wait for it. */
  async checkpoint(signal: AbortSignal): Promise<void> {
    const { blockId, fence } = this.#session;
    await this.#ledger.advance(fence, () => null, signal);
    await this.#view.refresh(signal);
    await this.#view.ack(blockId, fence, signal);
  }

  /** The copy adds nothing to the pool but its manifest. */
  async prepare(signal: AbortSignal): Promise<Prepared> {
    const { blockId, fence } = this.#session;
    await this.checkpoint(signal);
    const bytes = encodePackedManifest({ ...this.#manifest, storedBytes: 0 });
    await this.#pool.backend.put(manifestKey(blockId, fence), bytes, signal);
    return { rootDigest: this.#manifest.rootDigest, storedBytes: 0 };
  }

  async commit(signal: AbortSignal): Promise<void> {
    await this.prepare(signal);
    await commitSession(this.#pool, this.#session, signal);
  }

  async abort(signal: AbortSignal): Promise<void> {
    const { blockId, fence, jobId, attempt } = this.#session;
    const gone = { state: 'removed' as const, fence, jobId, attempt, detail: {} };
    const { after } = await this.#ledger.advance(fence, (head) => (head.entry?.state === 'open' ? gone : null), signal);
    if (after.entry?.state === 'removed') await sweepBlock(this.#pool.backend, blockId, fence, signal);
  }

  async close(): Promise<void> {}
}
