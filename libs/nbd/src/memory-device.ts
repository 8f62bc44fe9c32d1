/** A disk in memory: for tests, and as the plainest example of a device. */
import type { BlockDevice, DeviceExtent } from './device.ts';

const PAGE = 4096;
const ZEROS = Buffer.alloc(PAGE);

export interface MemoryDeviceOptions {
  readOnly?: boolean;
  /** False: every read and write takes the slow way. Default true. */
  hot?: boolean;
}

export class MemoryDevice implements BlockDevice {
  readonly size: number;
  readonly readOnly: boolean;
  readonly bytes: Buffer;
  readonly #hot: boolean;
  /** How often it was flushed. */
  flushes = 0;

  constructor(size: number, options: MemoryDeviceOptions = {}) {
    this.size = size;
    this.readOnly = options.readOnly ?? false;
    this.#hot = options.hot ?? true;
    this.bytes = Buffer.alloc(size);
  }

  readNow(offset: number, target: Buffer): boolean {
    if (this.#hot) this.bytes.copy(target, 0, offset, offset + target.length);
    return this.#hot;
  }

  async read(offset: number, target: Buffer): Promise<void> {
    await Promise.resolve();
    this.bytes.copy(target, 0, offset, offset + target.length);
  }

  writeNow(offset: number, bytes: Buffer): boolean {
    if (this.#hot) bytes.copy(this.bytes, offset);
    return this.#hot;
  }

  async write(offset: number, bytes: Buffer): Promise<void> {
    bytes.copy(this.bytes, offset);
  }

  async zero(offset: number, length: number): Promise<void> {
    this.bytes.fill(0, offset, offset + length);
  }

  async flush(): Promise<void> {
    this.flushes++;
  }

  async extents(offset: number, length: number, most: number): Promise<DeviceExtent[]> {
    const found: DeviceExtent[] = [];
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const next = Math.min(end, (Math.floor(at / PAGE) + 1) * PAGE);
      const zero = this.bytes.compare(ZEROS, 0, next - at, at, next) === 0;
      const last = found.at(-1);
      if (last?.zero === zero) last.length += next - at;
      else if (found.length === most) break;
      else found.push({ length: next - at, zero, hole: zero });
      at = next;
    }
    return found;
  }

  prefetch(): void {}

  async close(): Promise<void> {}
}
