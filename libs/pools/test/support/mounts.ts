/** Filesystems that a test mounts for itself, where it may. */
import { execFile, execFileSync } from 'node:child_process';
import { constants, copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MIB = 1024 * 1024;
/** mkfs.xfs makes nothing smaller. */
const XFS_BYTES = 320 * MIB;

export interface Mounted {
  path: string;
  unmount(): Promise<void>;
}

/** Null: this process may mount it; else the reason why not. */
export function cannotMount(kind: 'tmpfs' | 'xfs'): string | null {
  if (process.platform !== 'linux') return 'only Linux can mount it';
  if (process.getuid?.() !== 0) return 'only root may mount it';
  if (kind === 'xfs' && !existsSync('/dev/loop-control')) return 'there are no loop devices';
  const folder = mkdtempSync(join(tmpdir(), 'openservice-mount-'));
  try {
    if (kind === 'xfs') execFileSync('mkfs.xfs', ['-V'], { stdio: 'ignore' });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], { stdio: 'ignore' });
    execFileSync('umount', [folder], { stdio: 'ignore' });
    return null;
  } catch (error) {
    return (error as { code?: unknown }).code === 'ENOENT'
      ? 'mkfs.xfs or mount is not installed'
      : 'mounting is not allowed here';
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export async function mountTmpfs(bytes: number): Promise<Mounted> {
  const path = await mkdtemp(join(tmpdir(), 'openservice-tmpfs-'));
  await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path]);
  return { path, unmount: () => unmounted(path, path) };
}

/** With reflinks, in a loop file. */
export async function mountXfs(): Promise<Mounted> {
  const folder = await mkdtemp(join(tmpdir(), 'openservice-xfs-'));
  const image = join(folder, 'image');
  const path = join(folder, 'mnt');
  const file = await open(image, 'w');
  await file.truncate(XFS_BYTES);
  await file.close();
  await run('mkfs.xfs', ['-q', '-m', 'reflink=1', image]);
  await mkdir(path);
  await run('mount', ['-o', 'loop', image, path]);
  return { path, unmount: () => unmounted(path, folder) };
}

/** True when the filesystem of the temporary directory has reflinks. */
export function tmpdirHasReflinks(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'openservice-reflink-'));
  try {
    writeFileSync(join(folder, 'a'), 'x');
    copyFileSync(join(folder, 'a'), join(folder, 'b'), constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function unmounted(path: string, folder: string): Promise<void> {
  await run('umount', [path]);
  await rm(folder, { recursive: true });
}
