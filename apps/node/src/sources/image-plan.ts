/**
 * How qemu opens an image: every file by an open descriptor, every format by name. Nothing is probed, and qemu follows no name that
 * stands in an image: what an image refers to is read here, and must lie within the import roots.
 */
import { dirname, isAbsolute, resolve } from 'node:path';
import { PermanentError } from '@openservice/domain';
import type { ImageFormat } from '@openservice/protocol';
import type { ImageFile, ImageFiles } from './image-files.ts';
import { isVhdFooter } from './magic.ts';
import { readQcow2Header } from './qcow2-header.ts';
import { planVmdk } from './vmdk.ts';

export interface ImagePlan {
  /** For --image-opts. */
  options: string[];
  /** Files beside the image itself that its content depends on. */
  others: string[];
}

const MAX_DEPTH = 64;

/** PermanentError `image_format_unsupported`, `image_damaged`, and those of ImportRoots.openSource for files that the image names. */
export async function planImage(
  files: ImageFiles,
  file: ImageFile,
  format: Exclude<ImageFormat, 'raw'>,
  scratchDir: string,
): Promise<ImagePlan> {
  switch (format) {
    case 'qcow2':
      return planQcow2(files, file);
    case 'vmdk':
      return planVmdk(files, file, scratchDir);
    case 'vpc':
      await demandWholeVhd(file);
      return single('vpc', file);
    case 'vhdx':
      // One with a parent is refused by qemu itself.
      return single('vhdx', file);
  }
}

export function single(driver: string, file: Pick<ImageFile, 'qemuName'>): ImagePlan {
  return { options: [`driver=${driver}`, 'file.driver=file', `file.filename=${file.qemuName}`], others: [] };
}

async function planQcow2(files: ImageFiles, top: ImageFile): Promise<ImagePlan> {
  const plan: ImagePlan = { options: [], others: [] };
  let file = top;
  let prefix = '';
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const { backing, dataFile } = await readQcow2Header(file);
    plan.options.push(`${prefix}driver=qcow2`, ...fileOptions(`${prefix}file`, file));
    if (dataFile !== null) {
      const data = await addNamed(files, file, dataFile, 'data file');
      plan.options.push(...fileOptions(`${prefix}data-file`, data));
      plan.others.push(data.path);
    }
    if (backing === null) return plan;
    const base = await addNamed(files, file, backing.name, 'backing file');
    plan.others.push(base.path);
    prefix += 'backing.';
    if (backing.format === 'raw') {
      plan.options.push(`${prefix}driver=raw`, ...fileOptions(`${prefix}file`, base));
      return plan;
    }
    if (backing.format !== 'qcow2') throw unknownBacking(file, backing);
    file = base;
  }
  throw new PermanentError(
    'image_format_unsupported',
    `${top.path} has a chain of more than ${MAX_DEPTH} backing files; commit some of them first.`,
  );
}

function unknownBacking(file: ImageFile, backing: { name: string; format: string | null }): PermanentError {
  const why =
    backing.format === null
      ? `does not say in which format its backing file ${backing.name} is, and guessing would be a way into other files; set it with qemu-img rebase -u -F`
      : `has the backing file ${backing.name} in format ${backing.format}, of which only qcow2 and raw are read; convert it first with qemu-img convert`;
  return new PermanentError('image_format_unsupported', `${file.path} ${why}.`);
}

function fileOptions(prefix: string, file: ImageFile): string[] {
  return [`${prefix}.driver=file`, `${prefix}.filename=${file.qemuName}`];
}

/** A file that an image names: a path, relative to where the image really lies; no URL, no json:. */
export async function addNamed(files: ImageFiles, image: ImageFile, name: string, what: string): Promise<ImageFile> {
  // A colon before the first slash is qemu's mark of a protocol.
  if (name === '' || name.includes('\0') || /^[^/]*:/.test(name)) {
    throw new PermanentError(
      'path_not_allowed',
      `The ${what} of ${image.path} is ${JSON.stringify(name)}, which is no plain path; only files within the import roots are read.`,
    );
  }
  const path = isAbsolute(name) ? name : resolve(dirname(image.realPath), name);
  return files.add(path, `The ${what} of ${image.path}`);
}

/** Qemu would read one with a parent as if the parent were zeros. */
async function demandWholeVhd(file: ImageFile): Promise<void> {
  const sector = 512;
  if (file.size < sector) throw new PermanentError('image_damaged', `${file.path} is too short to be a VHD.`);
  const [start, end] = [await file.read(0, sector), await file.read(file.size - sector, sector)];
  for (const footer of [start, end]) {
    if (isVhdFooter(footer) && footer.readUInt32BE(60) === 4) {
      throw new PermanentError(
        'image_format_unsupported',
        `${file.path} is a VHD that holds only the differences to a parent; merge them first.`,
      );
    }
  }
}
