/**
 * The manifest's head and the root digest, the same in every pool.
 *
 * Head, 32 bytes: magic "OSMANIF1" (8), size in bytes u64 LE (8), chunk size in bytes u32 LE (4), 12 bytes zero.
 * Then one digest of 32 bytes a chunk, in order: BLAKE3-256 of the chunk's plain bytes, 32 zero bytes for a hole.
 * Root digest: BLAKE3-256 (https://github.com/BLAKE3-team/BLAKE3-specs) over head and digests.
 */
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { isBlockShape, PermanentError } from '@openservice/domain';

export const DIGEST_BYTES = 32;
export const MANIFEST_HEAD_BYTES = 32;
export const HOLE_DIGEST: Buffer = Buffer.alloc(DIGEST_BYTES);
const MAGIC = Buffer.from('OSMANIF1', 'latin1');

export interface ManifestHead {
  /** Exact bytes of the block. */
  size: number;
  chunkSize: number;
}

export function encodeManifestHead(head: ManifestHead): Buffer {
  const bytes = Buffer.alloc(MANIFEST_HEAD_BYTES);
  MAGIC.copy(bytes);
  bytes.writeBigUInt64LE(BigInt(head.size), 8);
  bytes.writeUInt32LE(head.chunkSize, 16);
  return bytes;
}

/** PermanentError `damaged_manifest` for bytes that are no head, or are that of no block that can be. */
export function decodeManifestHead(bytes: Buffer): ManifestHead {
  if (bytes.length < MANIFEST_HEAD_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) {
    throw new PermanentError('damaged_manifest', 'The manifest does not begin with OSMANIF1; it is damaged or is no manifest.');
  }
  const head = { size: Number(bytes.readBigUInt64LE(8)), chunkSize: bytes.readUInt32LE(16) };
  if (isBlockShape(head.size, head.chunkSize)) return head;
  throw new PermanentError(
    'damaged_manifest',
    `The manifest tells of ${head.size} bytes in chunks of ${head.chunkSize}, which no block has; it is damaged.`,
  );
}

/** Feeds digests in order; `digest()` is the block's root digest. */
export class RootHasher {
  readonly #hasher = new Blake3Hasher();

  constructor(head: ManifestHead) {
    this.#hasher.update(encodeManifestHead(head));
  }

  /** `digests`: any whole number of digests, concatenated. */
  update(digests: Buffer): void {
    this.#hasher.update(digests);
  }

  digest(): Buffer {
    return this.#hasher.digestBuffer();
  }
}

export function isHole(digest: Buffer): boolean {
  return digest.equals(HOLE_DIGEST);
}
