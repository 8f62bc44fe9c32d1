/**
 * The manifest is cut into segments of SEGMENT_CHUNKS chunks. Each is two objects: the digests, and where the chunks lie. Shared by all
 * blocks of the pool: a salt in each makes its name (the BLAKE3 of its plain bytes) one that never comes again. A segment of holes alone has
 * neither (docs/format.md, Segments).
 */
import { randomBytes } from 'node:crypto';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { blake3 } from '@napi-rs/blake-hash';
import { PermanentError } from '@openservice/domain';
import { DIGEST_BYTES } from '../manifest.ts';

export const SEGMENT_CHUNKS = 4096;
export const HASH_BYTES = 32;
const MAGIC = { digests: Buffer.from('OSDIGST1', 'latin1'), locations: Buffer.from('OSLOCAT2', 'latin1') };
/** Locations of pools from before segments were shared: this magic, no salt. */
const PRIVATE_MAGIC = Buffer.from('OSLOCAT1', 'latin1');
const SALT_BYTES = 16;
const FRONT_BYTES = 8 + SALT_BYTES;
const COUNTS_BYTES = 8;
const ENTRY_BYTES = 12;
const NO_PACK = 0xffffffff;
/** A segment's locations name at most one pack a chunk. */
const MAX_PLAIN_BYTES = FRONT_BYTES + COUNTS_BYTES + SEGMENT_CHUNKS * (HASH_BYTES + ENTRY_BYTES);

export type SegmentKind = 'digests' | 'locations';

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

  /** Body of the locations object. `nameOf` answers the 32-byte name of a pack. */
  encodeLocations(nameOf: (pack: number) => Buffer): Buffer {
    const numbers = [...this.packs()];
    const local = new Map(numbers.map((number, i) => [number, i]));
    const chunks = this.#packs.length;
    const bytes = Buffer.alloc(COUNTS_BYTES + numbers.length * HASH_BYTES + chunks * ENTRY_BYTES);
    bytes.writeUInt32LE(numbers.length, 0);
    bytes.writeUInt32LE(chunks, 4);
    numbers.forEach((number, i) => {
      nameOf(number).copy(bytes, COUNTS_BYTES + i * HASH_BYTES);
    });
    for (let i = 0, at = COUNTS_BYTES + numbers.length * HASH_BYTES; i < chunks; i++, at += ENTRY_BYTES) {
      bytes.writeUInt32LE(local.get(this.#packs[i]!) ?? NO_PACK, at);
      bytes.writeUInt32LE(this.#offsets[i]!, at + 4);
      bytes.writeUInt32LE(this.#lengths[i]!, at + 8);
    }
    return bytes;
  }
}

/** The locations of a stored segment, read where they lie in the body. */
export class Locations {
  readonly #bytes: Buffer;
  readonly #packs: string[] = [];
  readonly #entriesAt: number;
  readonly chunks: number;

  constructor(body: Buffer) {
    const count = body.length < COUNTS_BYTES ? 0 : body.readUInt32LE(0);
    this.chunks = body.length < COUNTS_BYTES ? 0 : body.readUInt32LE(4);
    this.#entriesAt = COUNTS_BYTES + count * HASH_BYTES;
    if (body.length !== this.#entriesAt + this.chunks * ENTRY_BYTES) {
      throw new PermanentError('damaged_manifest', 'A locations segment of the manifest is damaged.');
    }
    for (let i = 0; i < count; i++)
      this.#packs.push(body.toString('hex', COUNTS_BYTES + i * HASH_BYTES, COUNTS_BYTES + (i + 1) * HASH_BYTES));
    this.#bytes = body;
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

/** A new object for the pool: its name, and the bytes to store. Takes less than 1 ms, so it stays on this thread. */
export function makeSegment(kind: SegmentKind, body: Buffer): { name: Buffer; stored: Buffer } {
  const plain = Buffer.concat([MAGIC[kind], randomBytes(SALT_BYTES), body]);
  return { name: hashOf(plain), stored: zstdCompressSync(plain) };
}

/** The body. PermanentError `damaged_manifest` where the bytes are not those that `name` names. */
export function openSegment(kind: SegmentKind, stored: Buffer, name: Buffer, key: string): Buffer {
  const plain = unpack(stored, name, key);
  if (plain.length < FRONT_BYTES || !plain.subarray(0, 8).equals(MAGIC[kind]))
    throw new PermanentError('damaged_manifest', `Segment ${key} of the manifest holds no ${kind}.`);
  return plain.subarray(FRONT_BYTES);
}

/** As `openSegment`, of pools from before segments were shared. */
export function openPrivateSegment(kind: SegmentKind, stored: Buffer, name: Buffer, key: string): Buffer {
  const plain = unpack(stored, name, key);
  if (kind === 'digests') return plain;
  if (!plain.subarray(0, 8).equals(PRIVATE_MAGIC))
    throw new PermanentError('damaged_manifest', `Segment ${key} of the manifest holds no locations.`);
  return plain.subarray(8);
}

function unpack(stored: Buffer, name: Buffer, key: string): Buffer {
  let plain: Buffer;
  try {
    plain = zstdDecompressSync(stored, { maxOutputLength: MAX_PLAIN_BYTES });
  } catch (cause) {
    throw new PermanentError('damaged_manifest', `Segment ${key} of the manifest cannot be decompressed; it is damaged.`, {
      cause,
    });
  }
  if (!hashOf(plain).equals(name))
    throw new PermanentError('damaged_manifest', `Segment ${key} of the manifest is damaged: its hash is wrong.`);
  return plain;
}
