/** The index of a dedup pool of many chunks (docs/format.md, Index), of packs that nobody has: what a node must hold up with, without the data. */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** As a session of the product writes them: so many entries an object, so many chunks a pack. */
const ENTRIES = 65_536;
const CHUNKS_A_PACK = 48;
const PACKS = Math.ceil(ENTRIES / CHUNKS_A_PACK);
const RECORD_BYTES = 600_000;

/** Adds index objects for at least `chunks` chunks to the pool in `poolPath`; answers how many. 47 bytes of disk each. */
export async function simulateIndex(poolPath: string, chunks: number, signal: AbortSignal): Promise<number> {
  const folder = join(poolPath, 'index');
  await mkdir(folder, { recursive: true });
  let made = 0;
  for (let part = 0; made < chunks; part++, made += ENTRIES) {
    signal.throwIfAborted();
    const name = `${'1'.padStart(16, '0')}-block-simulated-${String(part).padStart(6, '0')}`;
    await writeFile(join(folder, name), indexObject());
  }
  return made;
}

function indexObject(): Buffer {
  const packs = PACKS * 36;
  const bytes = Buffer.alloc(24 + packs + ENTRIES * 44 + 4);
  bytes.write('OSINDEX1', 'latin1');
  bytes.writeUInt32LE(PACKS, 8);
  bytes.writeUInt32LE(ENTRIES, 12);
  for (let i = 0, at = 24; i < PACKS; i++, at += 36) {
    randomBytes(32).copy(bytes, at);
    bytes.writeUInt32LE(CHUNKS_A_PACK * RECORD_BYTES, at + 32);
  }
  const ids = randomBytes(ENTRIES * 32);
  for (let i = 0, at = 24 + packs; i < ENTRIES; i++, at += 44) {
    ids.copy(bytes, at, i * 32, i * 32 + 32);
    bytes.writeUInt32LE(Math.floor(i / CHUNKS_A_PACK), at + 32);
    bytes.writeUInt32LE(32 + (i % CHUNKS_A_PACK) * RECORD_BYTES, at + 36);
    bytes.writeUInt32LE(RECORD_BYTES, at + 40);
  }
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, -4)), bytes.length - 4);
  return bytes;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ 0x82f63b78;
  return value >>> 0;
});

function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
