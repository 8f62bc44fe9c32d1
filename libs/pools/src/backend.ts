/**
 * A backend is a dumb object store: named byte strings, nothing else. It knows nothing of blocks, and a layout that
 * uses it knows nothing of directories or S3. Wrappers (retry, throttle, counting, fault injection) are backends
 * around a backend.
 *
 * Keys: `/`-separated segments of [a-z0-9._-], no leading slash, 512 bytes at most.
 * Every method takes an AbortSignal and rejects soon after it fires.
 * Errors: PermanentError (`access_denied`, `bucket_not_found`, `no_space`, `read_only`, …) when trying again cannot
 * help; TransientError (`unreachable`, `slow_down`, …) when it can; ObjectNotFoundError for a key that is not there.
 */
import { PermanentError } from '@openservice/domain';

export interface ObjectInfo {
  key: string;
  /** Bytes. */
  size: number;
}

/** Bytes. */
export interface Range {
  offset: number;
  length: number;
}

export interface Backend {
  /** For messages: `s3 bucket "backups" at http://…`, `directory /srv/pool`. Never a secret. */
  readonly name: string;
  /**
   * `strict`: `putIfAbsent` is atomic against every other writer, so a fence built on it holds whatever happens.
   * `advisory`: this store has no conditional write; `putIfAbsent` looks first and can be raced.
   */
  readonly fencing: 'strict' | 'advisory';

  /** Stores `parts`, concatenated, under `key`; replaces what was there. Durable once it resolves. May be repeated. */
  put(key: string, parts: Uint8Array | readonly Uint8Array[], signal: AbortSignal): Promise<void>;
  /**
   * As `put`, only if no object has that key. True: this call (or an earlier, unanswered try of this very call) made
   * it, durably. False: another object was there first, and stays as it was.
   */
  putIfAbsent(key: string, bytes: Uint8Array, signal: AbortSignal): Promise<boolean>;
  /**
   * The object's bytes, or `length` bytes from `offset`. Never fewer than asked for: a short read is a TransientError. `room`, where the caller
   * has buffers to use again: a backend may put a range there; it is done with it when the call ends.
   */
  get(key: string, range: Range | null, signal: AbortSignal, room?: (bytes: number) => Buffer): Promise<Buffer>;
  /** The object's size in bytes, or null where it is not there. */
  head(key: string, signal: AbortSignal): Promise<number | null>;
  /** Every object whose key starts with `prefix`, in ascending byte order of the keys, paged: memory stays bounded. */
  list(prefix: string, signal: AbortSignal): AsyncIterable<ObjectInfo>;
  /** Removes the object. One that is not there is no error. */
  remove(key: string, signal: AbortSignal): Promise<void>;
  /** Bytes of room in all, or null where the store sets no limit. */
  capacity(signal: AbortSignal): Promise<number | null>;
  /** Bytes handed to the store's wire or disk so far by put and putIfAbsent, tries that failed included. */
  readonly bytesSent: number;
  /** Releases sockets and handles. May be called twice. */
  close(): Promise<void>;
}

export class ObjectNotFoundError extends PermanentError {
  constructor(key: string, where: string) {
    super('object_not_found', `Object ${key} is not in ${where}.`);
  }
}
