/** A directory with little room, to be filled up: a tmpfs, which takes root and a mount namespace of one's own (own-mounts.ts). */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, statfsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';

const PIECE = Buffer.alloc(1024 * 1024);

export class SmallDisk {
  readonly path: string;
  readonly #ballast: string;

  private constructor(path: string) {
    this.path = path;
    this.#ballast = join(path, '.ballast');
  }

  /** Null where it cannot be mounted. */
  static mount(path: string, mib: number): SmallDisk | null {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const done = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m,mode=700`, 'openservice-chaos', path]);
    return done.status === 0 ? new SmallDisk(path) : null;
  }

  /** Leaves `room` bytes at most. */
  async fill(room: number): Promise<void> {
    const file = await open(this.#ballast, 'a');
    try {
      for (;;) {
        const { bavail, bsize } = statfsSync(this.path);
        const free = bavail * bsize - room;
        if (free <= 0) return;
        await file.write(PIECE, 0, Math.min(PIECE.length, free));
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      await file.close();
    }
  }

  clear(): void {
    rmSync(this.#ballast, { force: true });
  }

  /** What it holds goes with the process that mounted it: a copy for whoever looks for a cause. */
  keep(as: string): void {
    cpSync(this.path, as, { recursive: true });
  }

  unmount(): void {
    spawnSync('umount', ['-l', this.path]);
  }
}
