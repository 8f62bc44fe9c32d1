/** What a client wrote, in words: enough to make the bytes again at any time. Disks are some MiB, so all of one is held in memory. */
import { open } from 'node:fs/promises';
import { Random } from '../random.ts';

const PIECE = 64 * 1024;
const MIB = 1024 * 1024;

export interface Disk {
  /** Bytes; may be 0. */
  size: number;
  seed: string;
}

export interface Write {
  offset: number;
  length: number;
  seed: string;
  /** False: the client was not told that it is safe, so the range may hold either what was before or this. */
  sure: boolean;
}

export interface Content {
  disk: Disk;
  writes: readonly Write[];
}

export const plain = (disk: Disk): Content => ({ disk, writes: [] });

/** Sizes of all sorts: empty, below a sector, odd, whole chunks. */
export function drawDisk(draw: Random, seed: string): Disk {
  const sort = draw.next();
  if (sort < 0.04) return { size: 0, seed };
  if (sort < 0.12) return { size: draw.int(1, 511), seed };
  if (sort < 0.3) return { size: draw.int(512, 64 * 1024), seed };
  if (sort < 0.45) return { size: draw.int(1, 4) * MIB, seed };
  return { size: draw.int(64 * 1024, 6 * MIB), seed };
}

/** Half holes, a third of bytes like no other, the rest such as many disks share. */
export function diskBytes({ size, seed }: Disk): Buffer {
  const bytes = Buffer.alloc(size);
  const draw = new Random('disk', seed);
  for (let at = 0; at < size; at += PIECE) {
    const length = Math.min(PIECE, size - at);
    const sort = draw.next();
    if (sort < 0.5) continue;
    const source = sort < 0.83 ? draw : new Random('shared', draw.int(1, 8));
    source.bytes(length).copy(bytes, at);
  }
  return bytes;
}

export const writeBytes = ({ seed, length }: Write): Buffer => new Random('write', seed).bytes(length);

/** What is compared with: `unsure` holds 1 for each byte that was never answered for. */
export interface Expected {
  bytes: Buffer;
  unsure: Uint8Array;
}

export function expected(content: Content): Expected {
  const bytes = diskBytes(content.disk);
  const unsure = new Uint8Array(bytes.length);
  for (const write of content.writes) {
    if (write.sure) writeBytes(write).copy(bytes, write.offset);
    unsure.fill(write.sure ? 0 : 1, write.offset, write.offset + write.length);
  }
  return { bytes, unsure };
}

/** Null where `actual` is what was written; else what differs, in words. */
export function difference(content: Content, actual: Buffer): string | null {
  const { bytes, unsure } = expected(content);
  if (actual.length !== bytes.length) return `it has ${actual.length} bytes, not ${bytes.length}`;
  if (actual.equals(bytes)) return null;
  let first = -1;
  let count = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (actual[i] === bytes[i] || unsure[i] === 1) continue;
    if (first < 0) first = i;
    count++;
  }
  return first < 0 ? null : `${count} bytes differ, the first at ${first}`;
}

/** Holes stay holes. */
export async function writeDiskFile(path: string, disk: Disk): Promise<void> {
  const bytes = diskBytes(disk);
  const file = await open(path, 'w');
  try {
    for (let at = 0; at < bytes.length; at += PIECE) {
      const part = bytes.subarray(at, at + PIECE);
      if (part.some((byte) => byte !== 0)) await file.write(part, 0, part.length, at);
    }
    await file.truncate(bytes.length);
    await file.sync();
  } finally {
    await file.close();
  }
}
