/** The header of a qcow2 image, as far as it names other files (https://gitlab.com/qemu-project/qemu, docs/interop/qcow2.txt). */
import { PermanentError } from '@openservice/domain';
import type { ImageFile } from './image-files.ts';

export interface Qcow2Header {
  /** Null: it stands alone. `format` null: the image does not say. */
  backing: { name: string; format: string | null } | null;
  /** Name of the file that holds the data in place of the image. */
  dataFile: string | null;
}

const HEADER_BYTES = 104;
/** Header, extensions and backing name lie in the first cluster, which has 2 MiB at most. */
const MAX_FIRST_CLUSTER = 2 * 1024 * 1024;
const MAX_NAME = 1023;
const EXTERNAL_DATA = 4n;
const EXTENSION = { end: 0, backingFormat: 0xe2792aca, dataFile: 0x44415441 } as const;

export async function readQcow2Header(file: ImageFile): Promise<Qcow2Header> {
  if (file.size < HEADER_BYTES) throw damaged(file, 'it is shorter than a header');
  const head = await file.read(0, HEADER_BYTES);
  const version = head.readUInt32BE(4);
  if (head.toString('latin1', 0, 4) !== 'QFI\xfb') throw damaged(file, 'it does not begin with QFI');
  if (version !== 2 && version !== 3) {
    throw new PermanentError(
      'image_format_unsupported',
      `${file.path} is of version ${version} of qcow; convert it first with qemu-img convert -O qcow2.`,
    );
  }
  if (head.readUInt32BE(32) !== 0) {
    throw new PermanentError(
      'image_format_unsupported',
      `${file.path} is encrypted, and there is no key for it; decrypt it first.`,
    );
  }
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) throw damaged(file, `clusters of 2^${clusterBits} bytes`);
  const cluster = await file.read(0, Math.min(2 ** clusterBits, MAX_FIRST_CLUSTER, file.size));
  const extensions = readExtensions(file, cluster, version === 2 ? 72 : head.readUInt32BE(100));
  const name = readName(file, cluster, head.readBigUInt64BE(8), head.readUInt32BE(16));
  const external = version === 3 && (head.readBigUInt64BE(72) & EXTERNAL_DATA) !== 0n;
  const dataFile = external ? (extensions.get(EXTENSION.dataFile) ?? null) : null;
  if (external && dataFile === null) throw damaged(file, 'it says that another file holds its data, and not which');
  return {
    backing: name === null ? null : { name, format: extensions.get(EXTENSION.backingFormat) ?? null },
    dataFile,
  };
}

function readName(file: ImageFile, cluster: Buffer, offset: bigint, length: number): string | null {
  if (offset === 0n || length === 0) return null;
  if (length > MAX_NAME || offset + BigInt(length) > BigInt(cluster.length))
    throw damaged(file, 'the name of its backing file lies outside of its header');
  return cluster.toString('utf8', Number(offset), Number(offset) + length);
}

function readExtensions(file: ImageFile, cluster: Buffer, start: number): Map<number, string> {
  const found = new Map<number, string>();
  for (let at = start; at + 8 <= cluster.length; ) {
    const type = cluster.readUInt32BE(at);
    const length = cluster.readUInt32BE(at + 4);
    if (type === EXTENSION.end) break;
    if (at + 8 + length > cluster.length) throw damaged(file, 'an extension of its header does not end');
    found.set(type, cluster.toString('utf8', at + 8, at + 8 + length));
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
}

function damaged(file: ImageFile, why: string): PermanentError {
  return new PermanentError('image_damaged', `${file.path} is no whole qcow2 image: ${why}.`);
}
