/** A pool may have been written by somebody else: what it says of lengths is believed only as far as a block can have them. */
import { blake3 } from '@napi-rs/blake-hash';
import { crc32c } from '@node-rs/crc32';
import { MAX_BLOCK_SIZE, OpenServiceError } from '@openservice/domain';
import { expect } from 'chai';
import { packKey, sharedKey } from '../src/packs/keys.ts';
import { decodePackedManifest, encodePackedManifest, type PackedManifest } from '../src/packs/packed-manifest.ts';
import { HASH_BYTES, LiveSegment, makeSegment } from '../src/packs/segment.ts';
import { CHUNK, noise, PackedPool } from './support/packed-pool.ts';

const signal = new AbortController().signal;

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing was refused',
    (error: unknown) => (error instanceof OpenServiceError ? error.code : String(error)),
  );
}

describe('a packs pool that somebody else wrote', () => {
  let pool: PackedPool;
  let key: string;
  let manifest: PackedManifest;

  beforeEach(async () => {
    pool = await PackedPool.make();
    await pool.write('block-a', noise(3));
    key = (await pool.keys('blocks/block-a/')).find((name) => name.endsWith('/manifest'))!;
    manifest = decodePackedManifest(await pool.backend.get(key, null, signal), key);
  });

  const rewrite = async (changes: Partial<PackedManifest>): Promise<void> =>
    pool.backend.put(key, encodePackedManifest({ ...manifest, ...changes }), signal);
  const opening = (): Promise<string> => codeOf(pool.node().openReader('block-a', signal));
  const reading = async (): Promise<string> => {
    const reader = await pool.node().openReader('block-a', signal);
    return codeOf(reader.readChunk(0, Buffer.alloc(CHUNK), signal));
  };
  const readingSome = async (): Promise<string> => {
    const reader = await pool.node().openReader('block-a', signal);
    return codeOf(reader.read(10, 20, signal));
  };
  /** Locations of the one segment, as `at` would have them. */
  const relocate = async (chunks: number, length: number): Promise<void> => {
    const pack = Buffer.from((await pool.onlyPack()).key.slice(-2 * HASH_BYTES), 'hex');
    const live = new LiveSegment(chunks);
    for (let i = 0; i < chunks; i++) live.set(i, Buffer.alloc(HASH_BYTES, 1), 7, 32, length);
    const made = makeSegment(
      'locations',
      live.encodeLocations(() => pack),
    );
    await pool.backend.put(sharedKey(made.name), made.stored, signal);
    await rewrite({ segments: Buffer.concat([manifest.segments.subarray(0, HASH_BYTES), made.name]) });
  };

  for (const [what, changes] of [
    ['a size near 2^53', { size: Number.MAX_SAFE_INTEGER }],
    ['a size beyond 2^53', { size: 2 ** 60 }],
    ['more bytes than a block may have', { size: MAX_BLOCK_SIZE + 1 }],
    ['more chunks than a block may have', { size: MAX_BLOCK_SIZE, chunkSize: 1 }],
    ['chunks of no bytes', { chunkSize: 0 }],
    ['chunks of 4 GiB', { chunkSize: 2 ** 32 - 1 }],
    ['fewer segments than its size', { size: 5000 * CHUNK }],
    ['more segments than its size', { segments: Buffer.alloc(4 * HASH_BYTES) }],
  ] as const) {
    it(`a manifest with ${what} is refused when it is opened`, async () => {
      await rewrite(changes);
      expect(await opening()).to.equal('damaged_manifest');
    });
  }

  it('a chunk that a client sends as a record longer than is read is not taken, for others would rely on it', async () => {
    const bytes = noise(1, 9)[0]!;
    const writer = await pool.node().openWriter(pool.session('block-b', 1), signal);
    const frames = Array.from(bytes, () => 1);
    const crcs = frames.map((_, i) => crc32c(bytes.subarray(i, i + 1)));
    const longer = Buffer.alloc(50_000);
    bytes.copy(longer);
    const chunk = { digest: blake3(bytes), codec: 0 as const, frameSize: 1, rawLength: CHUNK, frames, crcs, bytes: longer };
    expect(await codeOf(writer.putStored!(0, chunk, signal))).to.equal('damaged_chunk');
    await writer.close();
  });

  it('a segment of another number of chunks is refused', async () => {
    await relocate(2, 4100);
    expect(await reading()).to.equal('damaged_manifest');
  });

  it('a place that is longer than any record is not read', async () => {
    await relocate(3, 2 ** 32 - 1);
    expect(await reading()).to.equal('damaged_manifest');
    expect(await readingSome()).to.equal('damaged_manifest');
  });

  for (const [what, at, value] of [
    ['raw bytes', 40, 2 ** 32 - 1],
    ['bytes of payload', 44, 2 ** 32 - 1],
  ] as const) {
    it(`a record that tells of ${value} ${what} takes no memory for them`, async () => {
      const { key: pack, offsets } = await pool.onlyPack();
      const bytes = await pool.backend.get(pack, null, signal);
      const head = bytes.subarray(offsets[0]!);
      head.writeUInt32LE(value, at);
      if (at === 40) {
        head.writeUInt32LE(value, 48);
        head.writeUInt32LE(1, 52);
      }
      head.writeUInt32LE(crc32c(head.subarray(0, 60)), 60);
      await pool.backend.put(packKey(pack.slice(-2 * HASH_BYTES)), bytes, signal);
      expect(await readingSome()).to.equal('damaged_chunk');
      expect(await reading()).to.equal('damaged_chunk');
    });
  }
});
