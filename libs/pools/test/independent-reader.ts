/**
 * A second reader of packs pools in a directory, written from docs/format.md alone: nothing of this project is imported, so that what the two
 * agree on is the document. Slow, whole in memory, and it refuses whatever is not exactly as the document says.
 */
import { createDecipheriv } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { Blake3Hasher, blake3 } from '@napi-rs/blake-hash';
import { crc32c } from '@node-rs/crc32';

export const HOLE: Buffer = Buffer.alloc(32);
const SEGMENT = 4096;

export function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`refused: ${what}`);
}

/** Every block that has a ledger, by its last entry. Both layouts. */
export function blocksOf(root: string, get = (key: string): Buffer => readFileSync(join(root, key))) {
  const ids = existsSync(join(root, 'blocks')) ? readdirSync(join(root, 'blocks')) : [];
  return ids.sort().map((blockId) => {
    const last = readdirSync(join(root, 'blocks', blockId, 'ledger'))
      .sort()
      .at(-1);
    const { state, fence, detail } = JSON.parse(get(`blocks/${blockId}/ledger/${last}`).toString());
    must(['open', 'committed', 'trashed', 'removed'].includes(state), `the ledger of ${blockId} says ${state}`);
    return { blockId, state, fence, detail } as {
      blockId: string;
      state: string;
      fence: number;
      detail: Record<string, unknown>;
    };
  });
}

/** `poolKey`: of an encrypted pool, hex. `read` answers a block that is committed or in the trash. */
export function openIndependently(root: string, poolKey: string | null = null) {
  const mark = JSON.parse(readFileSync(join(root, 'pool.json'), 'utf8'));
  must(mark.format === 'openservice-packs' && mark.version === 1, 'pool.json is of no packs pool of version 1');
  must((poolKey === null) === (mark.encryption === undefined), 'a pool key belongs to an encrypted pool, and to no other');
  const derive = (name: string, more: Buffer = Buffer.alloc(0)): Buffer =>
    keyed(Buffer.from(poolKey!, 'hex'), Buffer.concat([Buffer.from(`openservice ${name}\0`), more]));
  if (poolKey === null) must(/^[0-9a-f]{64}$/.test(mark.digest_key), 'pool.json has no digest key');
  else
    must(mark.encryption.cipher === 'aes-256-gcm' && derive('check').toString('hex', 0, 16) === mark.encryption.key_check, 'key');
  const digestKey = poolKey === null ? Buffer.from(mark.digest_key, 'hex') : derive('digest');
  const packs = new Map<string, { bytes: Buffer | null; good: boolean }>();

  /** A small object, opened where the pool is encrypted. */
  function object(key: string): Buffer {
    const bytes = readFileSync(join(root, key));
    if (poolKey === null) return bytes;
    must(bytes.toString('latin1', 0, 8) === 'OSSEALD1' && bytes.length >= 36, `${key} is not sealed`);
    return gcm(derive('objects'), bytes.subarray(8, 20), Buffer.from(key), bytes.subarray(20));
  }

  /** `under`: where a private one lies; empty for one of the pool's. */
  function segment(kind: 'segments' | 'locations', name: Buffer, under: string): Buffer {
    const hex = name.toString('hex');
    const plain = zstdDecompressSync(object(`${under === '' ? 'segments' : under + kind}/${hex.slice(0, 2)}/${hex}`));
    must(blake3(plain).equals(name), `segment ${hex} is not what its name says`);
    if (under !== '' && kind === 'segments') return plain;
    const magic = under !== '' ? 'OSLOCAT1' : kind === 'segments' ? 'OSDIGST1' : 'OSLOCAT2';
    must(plain.toString('latin1', 0, 8) === magic, `segment ${hex} does not begin with ${magic}`);
    return plain.subarray(under === '' ? 24 : 8);
  }

  /** A pack whose hash is wrong is read only where somebody marked it as damaged. */
  function pack(name: string): Buffer {
    const path = join(root, 'packs', name.slice(0, 2), name);
    const bytes = packs.get(name)?.bytes ?? (existsSync(path) ? readFileSync(path) : null);
    const good = packs.get(name)?.good ?? (bytes !== null && blake3(bytes).toString('hex') === name);
    packs.set(name, { bytes, good });
    must(good || existsSync(join(root, 'damaged', name)), `pack ${name} is not what its name says`);
    return bytes ?? Buffer.alloc(0);
  }

  function chunk(locations: Buffer, index: number, digest: Buffer): Buffer {
    const count = locations.readUInt32LE(0);
    const entry = 8 + 32 * count + 12 * index;
    const [number, offset, length] = [0, 4, 8].map((at) => locations.readUInt32LE(entry + at)) as [number, number, number];
    must(number < count, `chunk ${index} has no place`);
    const name = locations.toString('hex', 8 + 32 * number, 40 + 32 * number);
    const bytes = pack(name);
    try {
      must(offset + length <= bytes.length, `pack ${name} is gone or was cut`);
      return record(bytes.subarray(offset, offset + length), digest);
    } catch (error) {
      const repair = join(root, 'repairs', name, String(offset).padStart(10, '0'));
      if (!existsSync(repair)) throw error;
      return record(readFileSync(repair), digest);
    }
  }

  function record(bytes: Buffer, digest: Buffer): Buffer {
    must(bytes.length >= 64 && bytes.toString('latin1', 0, 4) === 'OSCH' && bytes[4] === 1, 'it is no chunk record');
    must(crc32c(bytes.subarray(0, 60)) === bytes.readUInt32LE(60), "the CRC of the record's head is wrong");
    const [codec, flags, id] = [bytes[5]!, bytes.readUInt16LE(6), bytes.subarray(8, 40)];
    const [raw, payload, size] = [bytes.readUInt32LE(40), bytes.readUInt32LE(44), bytes.readUInt32LE(48)];
    const frames = bytes.readUInt32LE(52);
    const nonceAt = 64 + 8 * frames;
    let at = nonceAt + 16 * flags;
    must(codec <= 1 && flags === (poolKey === null ? 0 : 1), 'the record has a codec or flags that are not known');
    must(keyed(digestKey, digest).equals(id), "the record's id is another chunk's");
    must(frames === Math.ceil(raw / size) && at + payload === bytes.length, "the record's lengths are wrong");
    const key = flags === 1 ? derive('record', bytes.subarray(nonceAt, nonceAt + 16)) : null;
    const parts: Buffer[] = [];
    for (let n = 0; n < frames; n++) {
      const stored = bytes.subarray(at, at + bytes.readUInt32LE(64 + 8 * n));
      must(crc32c(stored) === bytes.readUInt32LE(68 + 8 * n), `the CRC of frame ${n} is wrong`);
      const nonce = Buffer.alloc(12);
      nonce.writeUInt32LE(n);
      const plain = key === null ? stored : gcm(key, nonce, id, stored);
      parts.push(codec === 1 ? zstdDecompressSync(plain) : plain);
      must(parts[n]!.length === Math.min(size, raw - n * size), `frame ${n} has another length`);
      at += stored.length;
    }
    const whole = Buffer.concat(parts);
    must(at === bytes.length && blake3(whole).equals(digest), "the chunk's digest is wrong");
    return whole;
  }

  const blocks = () => blocksOf(root, object);

  function read(blockId: string): { bytes: Buffer; rootDigest: Buffer } {
    const found = blocks().find((block) => block.blockId === blockId && ['committed', 'trashed'].includes(block.state));
    if (found === undefined) throw new Error(`refused: block ${blockId} is not there`);
    const key = String(found.detail.manifest ?? `blocks/${blockId}/${String(found.fence).padStart(16, '0')}/manifest`);
    const manifest = beforeCrc(object(key), 'OSPKMAN1');
    const [flags, segments, head] = [manifest.readUInt32LE(8), manifest.readUInt32LE(12), manifest.subarray(24, 56)];
    must(flags <= 1 && head.toString('latin1', 0, 8) === 'OSMANIF1', 'the manifest has flags or a head that are not known');
    const [size, chunkSize] = [Number(head.readBigUInt64LE(8)), head.readUInt32LE(16)];
    const chunks = Math.ceil(size / chunkSize);
    must(segments === Math.ceil(chunks / SEGMENT) && manifest.length === 88 + 64 * segments, 'the manifest has another length');
    const bytes = Buffer.alloc(size);
    const root = new Blake3Hasher().update(head);
    for (let s = 0; s < segments; s++) {
      const [a, b] = [0, 32].map((at) => manifest.subarray(88 + 64 * s + at, 120 + 64 * s + at)) as [Buffer, Buffer];
      const under = flags === 1 ? '' : key.slice(0, key.lastIndexOf('/') + 1);
      const count = Math.min(SEGMENT, chunks - s * SEGMENT);
      const digests = a.equals(HOLE) ? Buffer.alloc(32 * count) : segment('segments', a, under);
      const locations = a.equals(HOLE) ? null : segment('locations', b, under);
      must(digests.length === 32 * count && (locations?.readUInt32LE(4) ?? count) === count, `segment ${s} has another length`);
      root.update(digests);
      for (let i = 0; i < count; i++) {
        const digest = digests.subarray(i * 32, i * 32 + 32);
        if (!digest.equals(HOLE)) chunk(locations!, i, digest).copy(bytes, (s * SEGMENT + i) * chunkSize);
      }
    }
    const rootDigest = root.digestBuffer();
    must(rootDigest.equals(manifest.subarray(56, 88)), 'the root digest is wrong');
    return { bytes, rootDigest };
  }

  return { blocks, read, object };
}

function keyed(key: Buffer, bytes: Buffer): Buffer {
  return Blake3Hasher.newKeyed(key).update(bytes).digestBuffer();
}

/** What stands before the CRC at the end. */
export function beforeCrc(bytes: Buffer, magic: string): Buffer {
  const end = bytes.length - 4;
  must(end >= 24 && bytes.toString('latin1', 0, 8) === magic, `it does not begin with ${magic}`);
  must(crc32c(bytes.subarray(0, end)) === bytes.readUInt32LE(end), `the CRC of ${magic} is wrong`);
  return bytes.subarray(0, end);
}

/** `sealed`: ciphertext, then the tag. */
function gcm(key: Buffer, nonce: Buffer, aad: Buffer, sealed: Buffer): Buffer {
  must(sealed.length >= 16, 'a seal is too short');
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 })
    .setAAD(aad)
    .setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
}
