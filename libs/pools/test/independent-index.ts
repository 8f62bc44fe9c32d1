/** As independent-reader.ts, for what only finding needs: footers of packs, and index objects. */
import { crc32c } from '@node-rs/crc32';
import { beforeCrc, must } from './independent-reader.ts';

export interface FoundRecord {
  id: string;
  offset: number;
  length: number;
}

/** The records of a whole pack. */
export function readFooter(pack: Buffer): FoundRecord[] {
  const end = pack.length - 24;
  must(pack.toString('latin1', 0, 8) === 'OSPACK01' && pack.toString('latin1', end, end + 8) === 'OSPKEND1', 'magic of a pack');
  const [version, count, length] = numbers(pack, end + 8);
  must(version === 1 && length === 48 * count, 'the footer has another length');
  must(crc32c(pack.subarray(end - length, end + 20)) === pack.readUInt32LE(end + 20), 'the CRC of the footer is wrong');
  return Array.from({ length: count }, (_, i) => {
    const at = end - length + 48 * i;
    return { id: hex(pack, at), offset: pack.readUInt32LE(at + 32), length: pack.readUInt32LE(at + 36) };
  });
}

/** `pack` of an entry: place in `packs`. */
export function readIndex(object: Buffer): {
  packs: { name: string; size: number }[];
  entries: (FoundRecord & { pack: number })[];
} {
  const bytes = beforeCrc(object, 'OSINDEX1');
  const [packs, entries, segments] = numbers(bytes, 8);
  must(bytes.length === 24 + 36 * packs + 44 * entries + 96 * segments, 'the index has another length');
  return {
    packs: Array.from({ length: packs }, (_, i) => ({
      name: hex(bytes, 24 + 36 * i),
      size: bytes.readUInt32LE(56 + 36 * i),
    })),
    entries: Array.from({ length: entries }, (_, i) => {
      const at = 24 + 36 * packs + 44 * i;
      const [pack, offset, length] = numbers(bytes, at + 32);
      return { id: hex(bytes, at), pack, offset, length };
    }),
  };
}

function numbers(bytes: Buffer, at: number): [number, number, number] {
  return [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4), bytes.readUInt32LE(at + 8)];
}

function hex(bytes: Buffer, at: number): string {
  return bytes.toString('hex', at, at + 32);
}
