/** A disk that is written where it is: a block device, a file that exists, an NBD export. Offsets and lengths in bytes. */
export interface Place {
  /** JSON: tells this place from another. */
  readonly identity: unknown;
  /** Fills all of `target`. */
  read(offset: number, target: Buffer, signal: AbortSignal): Promise<void>;
  write(offset: number, bytes: Buffer, signal: AbortSignal): Promise<void>;
  /** The range reads as zeros, without space of its own where that can be had. */
  zero(offset: number, length: number, signal: AbortSignal): Promise<void>;
  /** What was written is on stable storage. */
  flush(signal: AbortSignal): Promise<void>;
  /** Bytes that it takes up. */
  storedBytes(): Promise<number>;
  close(): Promise<void>;
}
