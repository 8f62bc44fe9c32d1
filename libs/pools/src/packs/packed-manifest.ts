/** The manifest object of a block: everything that opening a reader needs, and no more (docs/format.md, Manifest). */
import { chunkCount, PermanentError } from '@openservice/domain';
import { decodeManifestHead, encodeManifestHead, MANIFEST_HEAD_BYTES, type ManifestHead } from '../manifest.ts';
import { checked, withCrc } from './checked.ts';
import { HASH_BYTES, SEGMENT_CHUNKS } from './segment.ts';

const MAGIC = Buffer.from('OSPKMAN1', 'latin1');
/** Magic 8, flags u32, segment count u32, stored bytes u64, head 32, root digest 32. */
const FIXED_BYTES = 24 + MANIFEST_HEAD_BYTES + HASH_BYTES;
export const SEGMENT_ENTRY_BYTES = 2 * HASH_BYTES;
/** The segments are the pool's; else they lie under the block's fence, as in pools from before. */
const SHARED = 1;

export interface PackedManifest extends ManifestHead {
  rootDigest: Buffer;
  storedBytes: number;
  /** For each segment the names of its digests and of its locations; 64 zero bytes for a segment of holes. */
  segments: Buffer;
  shared: boolean;
}

export function encodePackedManifest(manifest: PackedManifest): Buffer {
  const bytes = Buffer.alloc(FIXED_BYTES + manifest.segments.length);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(manifest.shared ? SHARED : 0, 8);
  bytes.writeUInt32LE(manifest.segments.length / SEGMENT_ENTRY_BYTES, 12);
  bytes.writeBigUInt64LE(BigInt(manifest.storedBytes), 16);
  encodeManifestHead(manifest).copy(bytes, 24);
  manifest.rootDigest.copy(bytes, 24 + MANIFEST_HEAD_BYTES);
  manifest.segments.copy(bytes, FIXED_BYTES);
  return withCrc(bytes);
}

export function decodePackedManifest(bytes: Buffer, key: string): PackedManifest {
  const body = checked(bytes, MAGIC, 'damaged_manifest', `manifest ${key}`);
  if (body.length < FIXED_BYTES || body.length !== FIXED_BYTES + body.readUInt32LE(12) * SEGMENT_ENTRY_BYTES) {
    throw new PermanentError('damaged_manifest', `The manifest ${key} is damaged: its length is wrong.`);
  }
  const flags = body.readUInt32LE(8);
  if (flags > SHARED) {
    throw new PermanentError(
      'unknown_format',
      `The manifest ${key} was written by a newer version of openservice; update this node.`,
    );
  }
  const head = decodeManifestHead(body.subarray(24));
  if (body.readUInt32LE(12) !== Math.ceil(chunkCount(head.size, head.chunkSize) / SEGMENT_CHUNKS)) {
    throw new PermanentError(
      'damaged_manifest',
      `The manifest ${key} is damaged: it has another number of segments than its size.`,
    );
  }
  return {
    ...head,
    storedBytes: Number(body.readBigUInt64LE(16)),
    rootDigest: Buffer.from(body.subarray(24 + MANIFEST_HEAD_BYTES, FIXED_BYTES)),
    segments: body.subarray(FIXED_BYTES),
    shared: flags === SHARED,
  };
}

/** Where each segment's entry begins in `segments`. */
export function* segmentOffsets({ segments }: PackedManifest): Generator<number> {
  for (let at = 0; at < segments.length; at += SEGMENT_ENTRY_BYTES) yield at;
}
