/**
 * The manifest is cut into segments of SEGMENT_CHUNKS chunks. Each is two objects: the digests, and where the chunks lie. Both are named
 * by the BLAKE3 of their plain bytes and stored zstd-compressed. A segment of holes alone has neither (docs/format.md, Segments).
 */
import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';
import { blake3 } from '@napi-rs/blake-hash';
import { PermanentError } from '@openservice/domain';
import { DIGEST_BYTES } from '../manifest.ts';

export const SEGMENT_CHUNKS = 4096;
export const HASH_BYTES = 32;
const MAGIC = Buffer.from('OSLOCAT1', 'latin1');
const HEAD_BYTES = 16;
const ENTRY_BYTES = 12;
const NO_PACK = 0xffffffff;
/** A segment's locations name at most one pack a chunk. */
const MAX_PLAIN_BYTES = HEAD_BYTES + SEGMENT_CHUNKS * (HASH_BYTES + ENTRY_BYTES);

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

export interface Place {
  /** Hex name of the pack. */
  pack: string;
  offset: number;
  /** Bytes of the record. */
  length: number;
}

/** Chunks in segment `segment` of a block of `chunks` chunks. */
export function segmentLength(segment: number, chunks: number): number {
  return Math.min(SEGMENT_CHUNKS, chunks - segment * SEGMENT_CHUNKS);
}

/** A segment being filled by a writer. Packs stand by the writer's own numbers. */
export class LiveSegment {
  readonly digests: Buffer;
  readonly #packs: Uint32Array;
  readonly #offsets: Uint32Array;
  readonly #lengths: Uint32Array;

  constructor(chunks: number) {
    this.digests = Buffer.alloc(chunks * DIGEST_BYTES);
    this.#packs = new Uint32Array(chunks).fill(NO_PACK);
    this.#offsets = new Uint32Array(chunks);
    this.#lengths = new Uint32Array(chunks);
  }

  set(at: number, digest: Buffer, pack: number, offset: number, length: number): void {
    digest.copy(this.digests, at * DIGEST_BYTES);
    this.#packs[at] = pack;
    this.#offsets[at] = offset;
    this.#lengths[at] = length;
  }

  get(at: number): { digest: Buffer; pack: number; offset: number; length: number } {
    return {
      digest: this.digests.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES),
      pack: this.#packs[at]!,
      offset: this.#offsets[at]!,
      length: this.#lengths[at]!,
    };
  }

  /** The numbers of the packs that hold chunks of this segment, each once. */
  packs(): Set<number> {
    const numbers = new Set(this.#packs);
    numbers.delete(NO_PACK);
    return numbers;
  }

  /** Plain bytes of the locations object. `nameOf` answers the 32-byte name of a pack. */
  encodeLocations(nameOf: (pack: number) => Buffer): Buffer {
    const numbers = [...this.packs()];
    const local = new Map(numbers.map((number, i) => [number, i]));
    const chunks = this.#packs.length;
    const bytes = Buffer.alloc(HEAD_BYTES + numbers.length * HASH_BYTES + chunks * ENTRY_BYTES);
    MAGIC.copy(bytes);
    bytes.writeUInt32LE(numbers.length, 8);
    bytes.writeUInt32LE(chunks, 12);
    numbers.forEach((number, i) => {
      nameOf(number).copy(bytes, HEAD_BYTES + i * HASH_BYTES);
    });
    for (let i = 0, at = HEAD_BYTES + numbers.length * HASH_BYTES; i < chunks; i++, at += ENTRY_BYTES) {
      bytes.writeUInt32LE(local.get(this.#packs[i]!) ?? NO_PACK, at);
      bytes.writeUInt32LE(this.#offsets[i]!, at + 4);
      bytes.writeUInt32LE(this.#lengths[i]!, at + 8);
    }
    return bytes;
  }
}

/** The locations of a stored segment, read where they lie in its bytes. */
export class Locations {
  readonly #bytes: Buffer;
  readonly #packs: string[] = [];
  readonly #entriesAt: number;
  readonly chunks: number;

  constructor(bytes: Buffer) {
    const count = bytes.length < HEAD_BYTES ? 0 : bytes.readUInt32LE(8);
    this.chunks = bytes.length < HEAD_BYTES ? 0 : bytes.readUInt32LE(12);
    this.#entriesAt = HEAD_BYTES + count * HASH_BYTES;
    if (!bytes.subarray(0, 8).equals(MAGIC) || bytes.length !== this.#entriesAt + this.chunks * ENTRY_BYTES) {
      throw new PermanentError('damaged_manifest', 'A locations segment of the manifest is damaged.');
    }
    for (let i = 0; i < count; i++)
      this.#packs.push(bytes.toString('hex', HEAD_BYTES + i * HASH_BYTES, HEAD_BYTES + (i + 1) * HASH_BYTES));
    this.#bytes = bytes;
  }

  get packs(): readonly string[] {
    return this.#packs;
  }

  /** Null for a hole. */
  get(at: number): Place | null {
    const entry = this.#entriesAt + at * ENTRY_BYTES;
    const pack = this.#packs[this.#bytes.readUInt32LE(entry)];
    if (pack === undefined) return null;
    return { pack, offset: this.#bytes.readUInt32LE(entry + 4), length: this.#bytes.readUInt32LE(entry + 8) };
  }
}

export function hashOf(plain: Buffer): Buffer {
  return blake3(plain);
}

export async function packSegment(plain: Buffer): Promise<Buffer> {
  return await compress(plain);
}

/** The plain bytes. PermanentError `damaged_manifest` where they are not those that `hash` names. */
export async function unpackSegment(stored: Buffer, hash: Buffer, key: string): Promise<Buffer> {
  let plain: Buffer;
  try {
    plain = await decompress(stored, { maxOutputLength: MAX_PLAIN_BYTES });
  } catch (cause) {
    throw new PermanentError('damaged_manifest', `Segment ${key} of the manifest cannot be decompressed; it is damaged.`, {
      cause,
    });
  }
  if (!hashOf(plain).equals(hash))
    throw new PermanentError('damaged_manifest', `Segment ${key} of the manifest is damaged: its hash is wrong.`);
  return plain;
}
