/**
 * A disk behind an NBD server (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md). All offsets and lengths are bytes,
 * of any alignment: what the server demands of it is this client's concern. Calls may run many at once.
 *
 * Errors: PermanentError (`nbd_refused`, `nbd_export_not_found`, `nbd_protocol`, `nbd_io_error`, `out_of_range`, `no_space`, `read_only`),
 * TransientError (`unreachable`, `nbd_timeout`), CancelledError once a signal has fired. After a connection is lost every call fails as it did.
 */
export interface NbdClient {
  readonly disk: NbdDisk;
  /** Fills all of `target` from `offset` on. After it has rejected nothing more is written into `target`. */
  read(offset: number, target: Buffer, signal: AbortSignal): Promise<void>;
  /** `bytes` may be used again once it has resolved. Durable after the next flush. */
  write(offset: number, bytes: Buffer, signal: AbortSignal): Promise<void>;
  /** The range reads as zeros; a hole where the server makes them. Durable after the next flush. */
  writeZeroes(offset: number, length: number, signal: AbortSignal): Promise<void>;
  /** The range's content is not needed any more, and undefined until it is written. Nothing where the server knows no TRIM. */
  trim(offset: number, length: number, signal: AbortSignal): Promise<void>;
  /** All writes that have resolved are on stable storage. */
  flush(signal: AbortSignal): Promise<void>;
  /** Where the disk may hold data, ascending, from `offset` on; whatever lies between reads as zeros. All of it where the server does not tell. */
  extents(offset: number, signal: AbortSignal): AsyncIterable<NbdExtent>;
  /** Says goodbye, and lets go of the connection. May be called twice. */
  close(): Promise<void>;
}

export interface NbdExtent {
  offset: number;
  length: number;
}

/** What the server told of the export. */
export interface NbdDisk {
  /** Bytes. */
  readonly size: number;
  readonly readOnly: boolean;
  readonly canFlush: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  /** It tells where its holes are (`base:allocation`). */
  readonly tellsHoles: boolean;
  /** Every request must be a multiple of this. */
  readonly minBlock: number;
  readonly preferredBlock: number;
  /** Bytes in one READ or WRITE at most. */
  readonly maxBlock: number;
}

export interface NbdOptions {
  signal: AbortSignal;
  /** Requests on the wire at once. Default 16. */
  depth?: number;
  /** ms without a byte from the server while an answer is awaited, after which the connection counts as lost. Default 60 000. */
  answerLimit?: number;
  /** ms until the connection and its handshake must be done. Default 15 000. */
  connectLimit?: number;
  /** Certificates (PEM) of authorities for TLS; default: Node's and the system's. */
  ca?: string[];
}
