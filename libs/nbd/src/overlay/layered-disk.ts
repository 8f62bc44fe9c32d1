/**
 * A writable disk that can be held still while it goes on being used: `freeze` puts a new layer on top, which takes all further writes; what
 * lies below it is then of one moment. `release` merges the layers again. A crash in between leaves several layers, which the next open merges:
 * a merge may be repeated, because a layer is dropped from the list only when all of it is below, durably.
 */
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asOpenServiceError } from '@openservice/domain';
import type { BlockDevice, DeviceExtent } from '../device.ts';
import { SwitchDevice } from '../switch-device.ts';
import { syncDirectory } from './directory.ts';
import { layerPath, readLayers, sweepLayers, writeLayers } from './layer-list.ts';
import { Overlay, type OverlayLimits } from './overlay.ts';

const SHORT_WAIT_BYTES = 16 * 1024 * 1024;
const MOST_ROUNDS = 8;

interface Layer {
  number: number;
  overlay: Overlay;
  /** What the overlay lies on. */
  base: SwitchDevice;
}

export interface FrozenDisk {
  /** As it was when it was frozen. Not to be written. */
  readonly device: BlockDevice;
  /** Ranges that may differ from the base; ascending, neither touching nor overlapping. */
  readonly changed: { offset: number; length: number }[];
  /** The disk needs `device` no more. */
  release(): Promise<void>;
}

export interface LayeredDiskOptions {
  /** A layer of no more bytes than this is merged while clients wait. */
  shortWaitBytes?: number;
  /** Of each layer. */
  limits?: Partial<OverlayLimits>;
}

export class LayeredDisk implements BlockDevice {
  readonly size: number;
  readonly readOnly = false;
  readonly #directory: string;
  readonly #front: SwitchDevice;
  readonly #options: LayeredDiskOptions;
  #layers: Layer[];
  #turn: Promise<unknown> = Promise.resolve();
  /** Why nothing more can be written before the disk is opened anew. */
  #failed: unknown = null;

  private constructor(directory: string, layers: Layer[], options: LayeredDiskOptions) {
    this.#options = options;
    this.#directory = directory;
    this.#layers = layers;
    this.#front = new SwitchDevice(layers[layers.length - 1]!.overlay);
    this.size = this.#front.size;
  }

  /**
   * Goes on with what the directory (made where it lacks) holds. `base` is closed with the disk, but not where it cannot be opened:
   * PermanentError `damaged_overlay`, or the system's.
   */
  static async open(directory: string, base: BlockDevice, options: LayeredDiskOptions = {}): Promise<LayeredDisk> {
    const layers: Layer[] = [];
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const known = await readLayers(directory);
      // Without a list nothing was acknowledged yet: a first open did not come to its end.
      await sweepLayers(directory, known ?? []);
      let below = base;
      for (const number of known ?? [0]) {
        const layer = await openLayer(directory, number, below, known !== null, options);
        layers.push(layer);
        below = layer.overlay;
      }
      if (known === null) {
        await writeLayers(directory, numbersOf(layers));
        await syncDirectory(dirname(directory));
      }
      const disk = new LayeredDisk(directory, layers, options);
      await disk.#mergeAll(0);
      return disk;
    } catch (error) {
      for (const layer of layers.reverse()) await detach(layer);
      throw asOpenServiceError(error);
    }
  }

  /** Bytes of room that all layers take. */
  async storedBytes(): Promise<number> {
    const each = await Promise.all(this.#layers.map(({ overlay }) => overlay.storedBytes()));
    return each.reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Holds the disk still for a reader; one at a time, others wait for its release. */
  async freeze(): Promise<FrozenDisk> {
    const done = await this.#takeTurn();
    try {
      // Most of it now, while clients go on; they wait for the rest.
      await this.#front.flush();
      const frozen = this.#layers;
      await this.#push();
      return {
        device: frozen[frozen.length - 1]!.overlay,
        changed: union(frozen.map(({ overlay }) => overlay.changed())),
        release: () => this.#mergeAll(MOST_ROUNDS).finally(done),
      };
    } catch (error) {
      done();
      throw error;
    }
  }

  /** Everything written is forgotten, durably. Waits until nobody holds the disk still; what clients ask for meanwhile waits. */
  async rewind(): Promise<void> {
    const done = await this.#takeTurn();
    try {
      await this.#mergeAll(0);
      await this.#front.swap(async (top) => {
        await this.#layers[0]!.overlay.rewind();
        return top;
      });
    } finally {
      done();
    }
  }

  /** The base is read from another place from now on: it must hold the same bytes. The one before is closed. */
  async swapBase(next: BlockDevice): Promise<void> {
    let before: BlockDevice | null = null;
    await this.#layers[0]!.base.swap(async (old) => {
      before = old;
      return next;
    });
    await (before as BlockDevice | null)?.close();
  }

  readNow(offset: number, target: Buffer): boolean {
    return this.#front.readNow(offset, target);
  }

  read(offset: number, target: Buffer): Promise<void> {
    return this.#front.read(offset, target);
  }

  write(offset: number, bytes: Buffer, fua: boolean): Promise<void> {
    if (this.#failed !== null) return Promise.reject(this.#failed);
    return this.#front.write(offset, bytes, fua);
  }

  writeNow(offset: number, bytes: Buffer): boolean {
    return this.#failed === null && this.#front.writeNow(offset, bytes);
  }

  zero(offset: number, length: number, options: { hole: boolean; fua: boolean }): Promise<void> {
    if (this.#failed !== null) return Promise.reject(this.#failed);
    return this.#front.zero(offset, length, options);
  }

  flush(): Promise<void> {
    if (this.#failed !== null) return Promise.reject(this.#failed);
    return this.#front.flush();
  }

  extents(offset: number, length: number, most: number): Promise<DeviceExtent[]> {
    return this.#front.extents(offset, length, most);
  }

  prefetch(offset: number, length: number): void {
    this.#front.prefetch(offset, length);
  }

  close(): Promise<void> {
    return this.#front.close();
  }

  /** Resolves when it is the caller's turn, with what ends it. */
  async #takeTurn(): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#turn;
    this.#turn = promise;
    await before;
    return resolve;
  }

  /** A new layer takes the writes from here on. */
  async #push(): Promise<void> {
    await this.#front.swap(async (top) => {
      await top.flush();
      const number = Math.max(...this.#layers.map((layer) => layer.number)) + 1;
      const layer = await openLayer(this.#directory, number, top, false, this.#options);
      const layers = [...this.#layers, layer];
      try {
        await this.#writeList(numbersOf(layers));
      } catch (error) {
        // Where the list names it all the same, it is empty, and the next open merges nothing.
        await detach(layer);
        throw error;
      }
      this.#layers = layers;
      return layer.overlay;
    });
  }

  /** One layer is left. While much is to be merged, clients write into a further layer meanwhile, `rounds` times at most. */
  async #mergeAll(rounds: number): Promise<void> {
    for (let round = 0; this.#layers.length > 1; round++) {
      const top = this.#layers[this.#layers.length - 1]!;
      const long = round < rounds && top.overlay.changedBytes > (this.#options.shortWaitBytes ?? SHORT_WAIT_BYTES);
      if (this.#layers.length === 2 && long) await this.#push();
      if (this.#layers.length > 2) await this.#mergeMiddle();
      else await this.#mergeTop();
    }
  }

  /** The layer above the bottom, which nobody writes, goes into the bottom; the one above it then lies on the bottom. */
  async #mergeMiddle(): Promise<void> {
    const [bottom, middle, above, ...rest] = this.#layers as [Layer, Layer, Layer, ...Layer[]];
    await middle.overlay.mergeInto(bottom.overlay);
    const layers = [bottom, above, ...rest];
    await this.#writeList(numbersOf(layers));
    await above.base.swap(async () => bottom.overlay);
    this.#layers = layers;
    await this.#discard(middle);
  }

  async #mergeTop(): Promise<void> {
    const [bottom, top] = this.#layers as [Layer, Layer];
    await this.#front.swap(async () => {
      await top.overlay.mergeInto(bottom.overlay);
      await this.#writeList([bottom.number]);
      this.#layers = [bottom];
      return bottom.overlay;
    });
    await this.#discard(top);
  }

  async #writeList(numbers: readonly number[]): Promise<void> {
    let renamed = false;
    try {
      await writeLayers(this.#directory, numbers, () => {
        renamed = true;
      });
    } catch (error) {
      if (renamed) this.#failed = error;
      throw error;
    }
  }

  async #discard(layer: Layer): Promise<void> {
    await detach(layer);
    await rm(layerPath(this.#directory, layer.number), { recursive: true, force: true });
  }
}

async function openLayer(
  directory: string,
  number: number,
  below: BlockDevice,
  existing: boolean,
  { limits = {} }: LayeredDiskOptions,
): Promise<Layer> {
  const path = layerPath(directory, number);
  // A push that failed may have left a folder of this number: nothing in it was ever acknowledged.
  if (!existing) await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true, mode: 0o700 });
  // Before a list names it.
  if (!existing) await syncDirectory(dirname(path));
  const base = new SwitchDevice(below);
  return { number, base, overlay: await Overlay.open({ directory: path, base, existing, limits }) };
}

/** Closes the layer alone: what it lies on lives on. */
async function detach(layer: Layer): Promise<void> {
  await layer.base.swap(async () => NO_BASE);
  await layer.overlay.close();
}

function numbersOf(layers: readonly Layer[]): number[] {
  return layers.map(({ number }) => number);
}

function union(lists: Iterable<{ offset: number; length: number }>[]): { offset: number; length: number }[] {
  const all = lists.flatMap((list) => [...list]).sort((a, b) => a.offset - b.offset);
  const joined: { offset: number; length: number }[] = [];
  for (const range of all) {
    const last = joined.at(-1);
    if (last !== undefined && last.offset + last.length >= range.offset)
      last.length = Math.max(last.length, range.offset + range.length - last.offset);
    else joined.push({ ...range });
  }
  return joined;
}

/** What a layer that is taken away lies on: nothing to close. */
const NO_BASE: BlockDevice = {
  size: 0,
  readOnly: true,
  readNow: () => false,
  read: async () => {},
  write: async () => {},
  zero: async () => {},
  flush: async () => {},
  extents: async () => [],
  prefetch: () => {},
  close: async () => {},
};
