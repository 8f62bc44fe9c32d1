/** What a read-only disk is made of: a stored block, usually. Errors are the store's. */
export interface DiskReader {
  /** Exact bytes. */
  readonly size: number;
  /** All of `offset` … `offset + length - 1`, checked. */
  read(offset: number, length: number, signal: AbortSignal): Promise<Buffer>;
  /**
   * The same, into all of `target`, which nothing touches any more once this has ended. What it holds after a rejection is not known. Shared
   * memory spares a store that decodes on worker threads a copy.
   */
  readInto(offset: number, target: Buffer, signal: AbortSignal): Promise<void>;
  /** As BlockDevice.readNow, where the store has the bytes at hand as they are; left out where it never has. */
  readNow?(offset: number, target: Buffer): boolean;
  /** The store keeps what was read close by itself, as the kernel does with a file: units are not kept once more. */
  readonly selfCached?: boolean;
  /** Ranges that may hold data, ascending, from byte `from` on; whatever lies between reads as zeros. */
  data(from: number, signal: AbortSignal): AsyncIterable<{ offset: number; length: number }>;
  close(): Promise<void>;
}
