/** A device whose place another can take while it is used: what is under way ends first, what comes meanwhile waits. */
import type { BlockDevice, DeviceExtent } from './device.ts';
import { Turnstile } from './overlay/turnstile.ts';

export class SwitchDevice implements BlockDevice {
  readonly #turnstile = new Turnstile();
  #target: BlockDevice;
  #switching = false;

  constructor(target: BlockDevice) {
    this.#target = target;
  }

  get target(): BlockDevice {
    return this.#target;
  }

  get size(): number {
    return this.#target.size;
  }

  get readOnly(): boolean {
    return this.#target.readOnly;
  }

  /** `next` answers the device that takes over, and is called while nothing is under way; where it throws, all stays as it is. */
  async swap(next: (before: BlockDevice) => Promise<BlockDevice>): Promise<void> {
    await this.#turnstile.alone(async () => {
      this.#switching = true;
      try {
        this.#target = await next(this.#target);
      } finally {
        this.#switching = false;
      }
    });
  }

  readNow(offset: number, target: Buffer): boolean {
    return !this.#switching && this.#target.readNow(offset, target);
  }

  read(offset: number, target: Buffer): Promise<void> {
    return this.#turnstile.pass(() => this.#target.read(offset, target));
  }

  write(offset: number, bytes: Buffer, fua: boolean): Promise<void> {
    return this.#turnstile.pass(() => this.#target.write(offset, bytes, fua));
  }

  writeNow(offset: number, bytes: Buffer): boolean {
    return this.#turnstile.isOpen && this.#target.writeNow?.(offset, bytes) === true;
  }

  zero(offset: number, length: number, options: { hole: boolean; fua: boolean }): Promise<void> {
    return this.#turnstile.pass(() => this.#target.zero(offset, length, options));
  }

  flush(): Promise<void> {
    return this.#turnstile.pass(() => this.#target.flush());
  }

  extents(offset: number, length: number, most: number): Promise<DeviceExtent[]> {
    return this.#turnstile.pass(() => this.#target.extents(offset, length, most));
  }

  prefetch(offset: number, length: number): void {
    if (!this.#switching) this.#target.prefetch(offset, length);
  }

  close(): Promise<void> {
    return this.#target.close();
  }
}
