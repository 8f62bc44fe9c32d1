/**
 * Images of a folder as a crash would leave it, taken at the calls that change its files: before each of them. A kill leaves the files as
 * the kernel has them; a power cut leaves what was synced, and any of the pages, sizes and names that were not.
 */
import fs from 'node:fs';
import fsp, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import type { Random } from './random.ts';

const PAGE = 4096;

export class CrashImages {
  readonly #root: string;
  /** By inode: the content at the last sync. */
  readonly #synced = new Map<number, Buffer>();
  /** By folder: names and inodes when it was synced last. */
  readonly #names = new Map<string, Map<string, number>>();
  /** By inode: what was synced of a file that has no name any more. */
  readonly #unlinked = new Map<number, Buffer>();
  readonly #undo: (() => void)[] = [];
  readonly #onStep: (step: string) => void;

  private constructor(root: string, onStep: (step: string) => void) {
    this.#root = root;
    this.#onStep = onStep;
  }

  /** `onStep` is called before each step within `root`; an image may be taken in it. */
  static async watch(root: string, onStep: (step: string) => void): Promise<CrashImages> {
    const images = new CrashImages(root, onStep);
    await images.#hook();
    return images;
  }

  stop(): void {
    for (const undo of this.#undo.splice(0)) undo();
    syncBuiltinESMExports();
  }

  kill(to: string): void {
    fs.cpSync(this.#root, to, { recursive: true });
  }

  powerCut(to: string, random: Random): void {
    this.#cutFolder(this.#root, to, random);
  }

  #cutFolder(from: string, to: string, random: Random): void {
    fs.mkdirSync(to, { recursive: true });
    const now = namesOf(from);
    const durable = this.#names.get(from) ?? new Map<string, number>();
    for (const name of new Set([...now.keys(), ...durable.keys()])) {
      const inode = random.chance(50) ? now.get(name) : durable.get(name);
      if (inode === undefined) continue;
      const path = join(from, name);
      if (now.get(name) === inode && fs.statSync(path).isDirectory()) {
        this.#cutFolder(path, join(to, name), random);
        continue;
      }
      const content = now.get(name) === inode ? this.#cutFile(inode, path, random) : this.#unlinked.get(inode);
      if (content !== undefined) fs.writeFileSync(join(to, name), content);
    }
  }

  #cutFile(inode: number, path: string, random: Random): Buffer {
    const now = fs.readFileSync(path);
    const synced = this.#synced.get(inode) ?? Buffer.alloc(0);
    const cut = Buffer.alloc(random.chance(50) ? now.length : synced.length);
    for (let at = 0; at < cut.length; at += PAGE) {
      const from = random.chance(50) ? now : synced;
      if (at < from.length) from.copy(cut, at, at, at + PAGE);
    }
    return cut;
  }

  async #hook(): Promise<void> {
    const some = await fsp.open(this.#root, 'r');
    const handles = Object.getPrototypeOf(some) as FileHandle;
    await some.close();
    for (const name of ['datasync', 'sync'] as const)
      this.#around(handles, name, (handle: FileHandle) => {
        const path = pathOf(handle.fd);
        if (!this.#step(name, path)) return;
        if (fs.fstatSync(handle.fd).isDirectory()) this.#names.set(path, namesOf(path));
        // What is written while it syncs need not be in it.
        else this.#synced.set(fs.fstatSync(handle.fd).ino, fs.readFileSync(`/proc/self/fd/${handle.fd}`));
      });
    for (const name of ['write', 'truncate'] as const)
      this.#around(handles, name, (handle: FileHandle) => void this.#step(name, pathOf(handle.fd)));
    for (const name of ['rename', 'rm', 'mkdir'] as const)
      this.#around(fsp, name, (_self: unknown, path: unknown, to: unknown) => {
        if (!this.#step(name, String(path))) return;
        for (const gone of name === 'rename' ? [String(to)] : name === 'rm' ? [String(path)] : []) this.#keep(gone);
      });
    this.#around(fs, 'write', (_self: unknown, fd: unknown) => void this.#step('write', pathOf(fd as number)));
    this.#around(fs, 'writeSync', (_self: unknown, fd: unknown) => void this.#step('write', pathOf(fd as number)));
    syncBuiltinESMExports();
  }

  /** True: within the folder. */
  #step(name: string, path: string): boolean {
    if (path !== this.#root && !path.startsWith(`${this.#root}/`)) return false;
    this.#onStep(`${name} ${path.slice(this.#root.length)}`);
    return true;
  }

  /** A name that goes may come back with a power cut; its inode may be another file's soon. */
  #keep(path: string): void {
    const stats = fs.statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return;
    if (stats.isDirectory()) {
      this.#names.delete(path);
      for (const name of fs.readdirSync(path)) this.#keep(join(path, name));
      return;
    }
    this.#unlinked.set(stats.ino, this.#synced.get(stats.ino) ?? Buffer.alloc(0));
    this.#synced.delete(stats.ino);
  }

  // biome-ignore lint/suspicious/noExplicitAny: any function of any module.
  #around(owner: any, name: string, before: (self: any, ...args: unknown[]) => void): void {
    const original = owner[name];
    owner[name] = function hooked(this: unknown, ...args: unknown[]) {
      before(this, ...args);
      return original.apply(this, args);
    };
    this.#undo.push(() => {
      owner[name] = original;
    });
  }
}

function pathOf(fd: number): string {
  return fs.readlinkSync(`/proc/self/fd/${fd}`).replace(/ \(deleted\)$/, '');
}

function namesOf(folder: string): Map<string, number> {
  return new Map(fs.readdirSync(folder).map((name) => [name, fs.statSync(join(folder, name)).ino]));
}
