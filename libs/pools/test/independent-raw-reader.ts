/** As independent-reader.ts, for raw pools. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { blake3 } from '@napi-rs/blake-hash';
import { blocksOf, HOLE, must } from './independent-reader.ts';

/** A block of a raw pool, every chunk checked against `digests`, and those against the ledger's root digest. */
export function readRaw(root: string, blockId: string): { bytes: Buffer; rootDigest: Buffer } {
  const found = blocksOf(root).find((block) => block.blockId === blockId);
  must(found?.state === 'committed' || found?.state === 'trashed', `block ${blockId} is not there`);
  const [bytes, digests] = ['disk.raw', 'digests'].map((name) => readFileSync(join(root, 'blocks', blockId, name))) as [
    Buffer,
    Buffer,
  ];
  const [size, chunkSize] = [Number(digests.readBigUInt64LE(8)), digests.readUInt32LE(16)];
  must(digests.toString('latin1', 0, 8) === 'OSMANIF1' && size === bytes.length, 'the head of digests is wrong');
  const { detail } = found!;
  must(detail.size === size && detail.chunkSize === chunkSize, 'the ledger says another size');
  const chunks = Math.ceil(size / chunkSize);
  must(digests.length === 32 + 32 * chunks, 'digests has another length');
  for (let i = 0; i < chunks; i++) {
    const chunk = bytes.subarray(i * chunkSize, (i + 1) * chunkSize);
    const digest = chunk.every((byte) => byte === 0) ? HOLE : blake3(chunk);
    must(digest.equals(digests.subarray(32 + 32 * i, 64 + 32 * i)), `chunk ${i} is not what its digest says`);
  }
  const rootDigest = blake3(digests);
  must(rootDigest.toString('hex') === detail.rootDigest, 'the root digest is wrong');
  return { bytes, rootDigest };
}
