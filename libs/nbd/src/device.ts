/**
 * A live disk, as the NBD server serves it and as filters wrap it. Offsets and lengths are bytes of any alignment; whoever calls has
 * checked that they lie within `size`. Calls run many at once and in any order; what overlaps while it is under way may come out
 * either way, as on a real disk.
 *
 * Errors: PermanentError `no_space`, `read_only`, anything else is an I/O error to the client. A call that failed may have been done in part.
 */
export interface BlockDevice {
  /** Exact bytes. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Fills `target` before it returns, without waiting for a disk or a network; false, and nothing done, when that cannot be: use `read`. */
  readNow(offset: number, target: Buffer): boolean;
  read(offset: number, target: Buffer): Promise<void>;
  /** `bytes` are the device's until it resolves. `fua`: on stable storage once it resolves. */
  write(offset: number, bytes: Buffer, fua: boolean): Promise<void>;
  /** Does a write without FUA before it returns, as `readNow` does a read; false: nothing of it counts, use `write`. Left out: never. */
  writeNow?(offset: number, bytes: Buffer): boolean;
  /** The range reads as zeros from now on, never as what a base has there. `hole` false: room for it is kept. */
  zero(offset: number, length: number, options: { hole: boolean; fua: boolean }): Promise<void>;
  /** All that resolved before the call is on stable storage once this resolves: it survives SIGKILL and, as far as fsync can, a power cut. */
  flush(): Promise<void>;
  /** What lies from `offset` on, without gaps, `most` extents at most; may end before `offset + length`, but holds one extent at least. */
  extents(offset: number, length: number, most: number): Promise<DeviceExtent[]>;
  /** The range will be read soon. Never an error. */
  prefetch(offset: number, length: number): void;
  /** Durable, then closed. May be called twice. */
  close(): Promise<void>;
}

export interface DeviceExtent {
  length: number;
  /** Reads as zeros. */
  zero: boolean;
  /** No room is taken for it. */
  hole: boolean;
}
