/** Objects in this process's memory: a real backend with strict fencing, for tests of all that stands on one. */
import { setImmediate } from 'node:timers/promises';
import { PermanentError, TransientError } from '@openservice/domain';
import { type Backend, type ObjectInfo, ObjectNotFoundError } from '../backend.ts';
import { throwIfCancelled } from '../cancel.ts';
import { checkKey, checkPrefix, totalBytes } from '../keys.ts';

export interface MemoryBackendOptions {
  name?: string;
  /** Bytes in all; more is PermanentError `no_space`. Default: no limit. */
  capacity?: number;
}

export function createMemoryBackend(options: MemoryBackendOptions = {}): Backend {
  return new MemoryBackend(options.name ?? 'memory', options.capacity ?? null);
}

class MemoryBackend implements Backend {
  readonly fencing = 'strict';
  readonly name: string;
  readonly #capacity: number | null;
  readonly #objects = new Map<string, Buffer>();
  #used = 0;
  #sent = 0;

  constructor(name: string, capacity: number | null) {
    this.name = name;
    this.#capacity = capacity;
  }

  get bytesSent(): number {
    return this.#sent;
  }

  async put(key: string, parts: Uint8Array | readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    await this.#turn(key, signal);
    this.#store(key, parts);
  }

  async putIfAbsent(key: string, bytes: Uint8Array, signal: AbortSignal): Promise<boolean> {
    await this.#turn(key, signal);
    if (this.#objects.has(key)) return false;
    this.#store(key, bytes);
    return true;
  }

  async get(key: string, range: { offset: number; length: number } | null, signal: AbortSignal): Promise<Buffer> {
    await this.#turn(key, signal);
    const object = this.#objects.get(key);
    if (object === undefined) throw new ObjectNotFoundError(key, this.name);
    const { offset, length } = range ?? { offset: 0, length: object.length };
    if (offset + length > object.length) {
      throw new TransientError('short_read', `Object ${key} in ${this.name} ends before byte ${offset + length}.`);
    }
    return Buffer.from(object.subarray(offset, offset + length));
  }

  async head(key: string, signal: AbortSignal): Promise<number | null> {
    await this.#turn(key, signal);
    return this.#objects.get(key)?.length ?? null;
  }

  async *list(prefix: string, signal: AbortSignal): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    // Keys are ASCII, so the order of UTF-16 units is the order of bytes.
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    for (const key of keys) {
      await this.#turn(key, signal);
      const object = this.#objects.get(key);
      if (object !== undefined) yield { key, size: object.length };
    }
  }

  async remove(key: string, signal: AbortSignal): Promise<void> {
    await this.#turn(key, signal);
    this.#used -= this.#objects.get(key)?.length ?? 0;
    this.#objects.delete(key);
  }

  async capacity(signal: AbortSignal): Promise<number | null> {
    throwIfCancelled(signal);
    return this.#capacity;
  }

  async close(): Promise<void> {}

  /** Lets other callers run, as a real store would: races show in tests. */
  async #turn(key: string, signal: AbortSignal): Promise<void> {
    checkKey(key);
    throwIfCancelled(signal);
    await setImmediate();
    throwIfCancelled(signal);
  }

  #store(key: string, parts: Uint8Array | readonly Uint8Array[]): void {
    const size = totalBytes(parts);
    this.#sent += size;
    const used = this.#used + size - (this.#objects.get(key)?.length ?? 0);
    if (this.#capacity !== null && used > this.#capacity) {
      throw new PermanentError('no_space', `${this.name} is full: ${this.#capacity} bytes.`);
    }
    this.#used = used;
    this.#objects.set(key, Buffer.concat(parts instanceof Uint8Array ? [parts] : parts));
  }
}
