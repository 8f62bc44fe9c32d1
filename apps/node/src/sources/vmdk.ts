/**
 * VMDK: one sparse file, or a descriptor (a text) that names extents. Qemu is given a descriptor of ours, in which open descriptors stand
 * in place of names. What stands on a parent (a snapshot) is refused.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import type { ImageFile, ImageFiles } from './image-files.ts';
import { addNamed, type ImagePlan, single } from './image-plan.ts';

const SECTOR = 512;
const MAX_TEXT = 64 * 1024;
/** qemu skips blanks before a line and takes the end of a line for one: what only begins like an extent is one here, too. */
const EXTENT_LIKE = /^\s*(RW|RDONLY|NOACCESS)\b/;
const EXTENT = /^(RW|RDONLY|NOACCESS)[ \t]+(\d+)[ \t]+(\w+)(?:[ \t]+"([^"]*)"([ \t]+\d+)?)?[ \t]*$/;
/** Extents that hold plain bytes, and those that have a header of their own. */
const FLAT = new Set(['FLAT', 'VMFS']);
const SPARSE = new Set(['SPARSE', 'VMFSSPARSE', 'SESPARSE']);

export async function planVmdk(files: ImageFiles, file: ImageFile, scratchDir: string): Promise<ImagePlan> {
  const magic = (await file.read(0, Math.min(4, file.size))).toString('latin1');
  if (magic === 'COWD') return vmdk(file);
  if (magic !== 'KDMV') return planDescriptor(files, file, await readText(file, 0, file.size), scratchDir);
  const { capacity, text } = await readSparseHeader(file);
  if (capacity === 0n) return planDescriptor(files, file, text, scratchDir);
  refuseParent(file, text);
  return vmdk(file);
}

function vmdk(file: Pick<ImageFile, 'qemuName'>): ImagePlan {
  const { options } = single('vmdk', file);
  // Empty: whatever it says of a parent is not followed.
  return { options: [...options, 'backing='], others: [] };
}

/** Of the given text nothing reaches qemu but the kind of disk and the extents that were understood: what is passed over here is not read there. */
async function planDescriptor(files: ImageFiles, file: ImageFile, text: string, scratchDir: string): Promise<ImagePlan> {
  refuseParent(file, text);
  const others: string[] = [];
  const lines = descriptorHead(file, text);
  for (const line of text.split(/\r?\n/)) {
    if (!EXTENT_LIKE.test(line)) continue;
    const [, access, sectors, type = '', name, offset = ''] = EXTENT.exec(line.trim()) ?? [];
    const known = FLAT.has(type) || SPARSE.has(type) || type === 'ZERO';
    if (access !== 'RW' || !known)
      throw unsupported(file, `its extent ${JSON.stringify(line.slice(0, 100))} is of a kind that is not read`);
    if (type === 'ZERO') {
      lines.push(`${access} ${sectors} ${type}`);
      continue;
    }
    const extent = await addNamed(files, file, name ?? '', 'extent');
    if (SPARSE.has(type)) await demandPlainSparse(extent);
    others.push(extent.path);
    lines.push(`${access} ${sectors} ${type} "${extent.qemuName}"${offset}`);
  }
  const own = join(scratchDir, 'descriptor');
  const handle = await open(own, 'wx+', 0o600);
  const qemuName = files.addOwn(handle);
  await handle.writeFile(`${lines.join('\n')}\n`);
  return { ...vmdk({ qemuName }), others };
}

function descriptorHead(file: ImageFile, text: string): string[] {
  const kind = /createType[ \t]*=[ \t]*"(\w{1,40})"/.exec(text)?.[1];
  if (kind === undefined) throw unsupported(file, 'its descriptor does not say of which type it is (createType)');
  return ['# Disk DescriptorFile', 'version=1', 'CID=fffffffe', 'parentCID=ffffffff', `createType="${kind}"`];
}

/** A sparse extent could itself be a descriptor that names further files. */
async function demandPlainSparse(file: ImageFile): Promise<void> {
  const magic = (await file.read(0, Math.min(4, file.size))).toString('latin1');
  if (magic === 'KDMV' && (await readSparseHeader(file)).capacity === 0n)
    throw unsupported(file, 'it is an extent that names further extents');
  if (magic === '# Di') throw unsupported(file, 'it is a descriptor where an extent should be');
}

async function readSparseHeader(file: ImageFile): Promise<{ capacity: bigint; text: string }> {
  if (file.size < SECTOR) throw unsupported(file, 'it is shorter than a header');
  const head = await file.read(0, SECTOR);
  const offset = Number(head.readBigUInt64LE(28)) * SECTOR;
  const length = Number(head.readBigUInt64LE(36)) * SECTOR;
  const text = offset > 0 && offset < file.size ? await readText(file, offset, Math.min(length, file.size - offset)) : '';
  return { capacity: head.readBigUInt64LE(12), text };
}

async function readText(file: ImageFile, offset: number, length: number): Promise<string> {
  if (length > MAX_TEXT) throw unsupported(file, `its descriptor has ${length} bytes`);
  return (await file.read(offset, length)).toString('utf8').replace(/\0.*$/s, '');
}

function refuseParent(file: ImageFile, text: string): void {
  const parent = /^\s*parentCID\s*=\s*([0-9a-fA-F]+)/m.exec(text)?.[1]?.toLowerCase() ?? 'ffffffff';
  if (parent === 'ffffffff' && !text.includes('parentFileNameHint')) return;
  throw unsupported(file, 'it is a snapshot that stands on a parent; consolidate it first');
}

function unsupported(file: ImageFile, why: string): PermanentError {
  return new PermanentError('image_format_unsupported', `${file.path} is a VMDK that cannot be imported: ${why}.`);
}
