/** What format an image is in, by what it begins with; a fixed VHD by what it ends with. */
import type { ImageFormat } from '@openservice/protocol';

/** Exactly `length` bytes from `offset` on, which lie within the image. */
export type ReadBytes = (offset: number, length: number) => Promise<Buffer>;

const SECTOR = 512;
const VMDK_TEXT = '# Disk DescriptorFile';
const VHD_COOKIE = 'conectix';
const VHD_CHECKSUM = 64;

/** `size`: bytes of the file. `raw` where nothing is recognised. */
export async function recogniseFormat(read: ReadBytes, size: number): Promise<ImageFormat> {
  const start = await read(0, Math.min(size, SECTOR));
  const text = start.toString('latin1');
  if (text.startsWith('QFI\xfb')) return 'qcow2';
  if (text.startsWith('KDMV') || text.startsWith('COWD') || text.startsWith(VMDK_TEXT)) return 'vmdk';
  if (text.startsWith('vhdxfile')) return 'vhdx';
  if (text.startsWith(VHD_COOKIE)) return 'vpc';
  if (size >= SECTOR && isVhdFooter(await read(size - SECTOR, SECTOR))) return 'vpc';
  return 'raw';
}

/** With its checksum right: the last sector of a raw disk may hold anything. */
export function isVhdFooter(footer: Buffer): boolean {
  if (footer.toString('latin1', 0, VHD_COOKIE.length) !== VHD_COOKIE) return false;
  let sum = 0;
  for (const [at, byte] of footer.entries()) if (at < VHD_CHECKSUM || at >= VHD_CHECKSUM + 4) sum += byte;
  return ~sum >>> 0 === footer.readUInt32BE(VHD_CHECKSUM);
}
