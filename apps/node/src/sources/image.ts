/** Images in qcow2, VMDK, VHD and VHDX: read through qemu-nbd, as the disk that they hold. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import type { NbdClient } from '@openservice/nbd';
import type { ImageFormat } from '@openservice/protocol';
import { ImageFiles } from './image-files.ts';
import { planImage } from './image-plan.ts';
import { recogniseFormat } from './magic.ts';
import { NbdDiskSource } from './nbd-disk.ts';
import type { ImportSource, SourceBlock, SourceDeps } from './port.ts';
import { type QemuExport, serveWithQemu } from './qemu.ts';
import { demandSize } from './size.ts';

/** Of sun_path on Linux, the ending zero left out. */
const MAX_SOCKET_PATH = 107;

export interface ServedImage {
  client: NbdClient;
  /** Of every file that makes up the image. */
  identity: unknown;
  /** Files beside the image itself that its content depends on. */
  others: string[];
  assertUnchanged(): Promise<void>;
  close(): Promise<void>;
}

export async function openImage(
  deps: SourceDeps,
  path: string,
  format: Exclude<ImageFormat, 'raw'>,
  block: SourceBlock,
  signal: AbortSignal,
): Promise<ImportSource> {
  const served = await serveImage(deps, path, format, signal);
  try {
    demandSize(`The disk in ${path}`, served.client.disk.size, block);
    const { client, identity } = served;
    const assertUnchanged = () => served.assertUnchanged();
    const close = () => served.close();
    return new NbdDiskSource({ client, block, workers: deps.workers, identity, notes: [], assertUnchanged, close });
  } catch (error) {
    await served.close();
    throw error;
  }
}

/**
 * PermanentError `image_format_mismatch` where the image is in another format than it is said to be, `image_format_unsupported`,
 * `image_damaged`, `image_unreadable`, `image_in_use`; and those of ImportRoots.openSource for each file of the image.
 */
export async function serveImage(
  deps: SourceDeps,
  path: string,
  format: Exclude<ImageFormat, 'raw'>,
  signal: AbortSignal,
): Promise<ServedImage> {
  const files = new ImageFiles(deps);
  let directory: string | null = null;
  let served: QemuExport | null = null;
  const close = async () => {
    await served?.close();
    await files.close();
    if (directory !== null) await rm(directory, { recursive: true, force: true });
  };
  try {
    const file = await files.add(path);
    const seen = await recogniseFormat(file.read, file.size);
    if (seen !== format) throw mismatch(path, format, seen);
    directory = await ownDirectory(deps.scratchDir);
    const { options, others } = await planImage(files, file, format, directory);
    served = await serveWithQemu({
      options,
      fds: files.fds,
      socket: join(directory, 's'),
      path,
      findQemu: deps.findQemu,
      signal,
    });
    const { client } = served;
    return { client, identity: { format, files: files.identity }, others, assertUnchanged: () => files.assertUnchanged(), close };
  } catch (error) {
    await close();
    throw error;
  }
}

export function mismatch(path: string, asked: ImageFormat, seen: ImageFormat): PermanentError {
  return new PermanentError(
    'image_format_mismatch',
    `${path} was said to be in format ${asked}, but is in format ${seen}; name the right one, or none.`,
  );
}

/** The path of a Unix socket has little room. */
async function ownDirectory(scratchDir: string): Promise<string> {
  const short = scratchDir.length + 'image-xxxxxx'.length + 4 < MAX_SOCKET_PATH;
  return mkdtemp(join(short ? scratchDir : tmpdir(), 'image-'));
}
