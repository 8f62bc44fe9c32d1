/** A raw image on a web server, read by ranges of some MiB that neighbouring chunks share. */
import type { ChunkWorkers } from '@openservice/codec';
import { CancelledError, chunkCount, chunkLength, MIB } from '@openservice/domain';
import type { ChunkRange } from '@openservice/pools';
import type { SourceRef } from '@openservice/protocol';
import { askServer, type HttpIdentity, notRaw } from './http-probe.ts';
import { changed, fetchRange, type RangeSource } from './http-range.ts';
import { HttpClient, safeName } from './http-request.ts';
import type { ImportSource, SourceBlock, SourceDeps } from './port.ts';
import { demandSize } from './size.ts';

const WINDOW_BYTES = 4 * MIB;
/** Windows in memory or on their way; one is begun ahead. */
const WINDOWS = 6;

/** PermanentError `source_changed`, `source_no_ranges`, `source_encoded`, `source_not_found`, `source_unreadable`; TransientError `unreachable`. */
export async function openHttp(
  deps: Pick<SourceDeps, 'workers'>,
  source: Extract<SourceRef, { type: 'http' }>,
  block: SourceBlock,
  signal: AbortSignal,
): Promise<ImportSource> {
  if (source.format !== 'raw') throw notRaw(source.url, source.format);
  const client = new HttpClient();
  try {
    const { identity } = await askServer(client, source.url, signal);
    const { etag, last_modified } = source.identity ?? identity;
    if (etag !== identity.etag || last_modified !== identity.last_modified) throw changed(source.url);
    demandSize(safeName(source.url), identity.size, block);
    return new HttpSource({ client, url: source.url, identity }, block, deps.workers);
  } catch (error) {
    client.close();
    throw error;
  }
}

class HttpSource implements ImportSource {
  readonly size: number;
  readonly chunkSize: number;
  readonly identity: HttpIdentity;
  readonly #source: RangeSource;
  readonly #workers: ChunkWorkers;
  readonly #windowChunks: number;
  readonly #stop = new AbortController();
  /** The least lately used comes first. */
  readonly #windows = new Map<number, Promise<Buffer>>();

  constructor(source: RangeSource, block: SourceBlock, workers: ChunkWorkers) {
    this.size = block.size;
    this.chunkSize = block.chunkSize;
    this.identity = source.identity;
    this.#source = source;
    this.#workers = workers;
    this.#windowChunks = Math.max(1, Math.floor(WINDOW_BYTES / block.chunkSize));
  }

  async *extents(from: number): AsyncIterable<ChunkRange> {
    const count = chunkCount(this.size, this.chunkSize);
    if (count > from) yield { first: from, count: count - from };
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    const number = Math.floor(index / this.#windowChunks);
    const reading = this.#window(number);
    if ((number + 1) * this.#windowChunks * this.chunkSize < this.size) void this.#window(number + 1).catch(() => {});
    const window = await orAborted(reading, signal);
    const at = (index % this.#windowChunks) * this.chunkSize;
    const length = chunkLength(this.size, this.chunkSize, index);
    window.copy(target, 0, at, at + length);
    return this.#workers.digest(target.subarray(0, length));
  }

  async assertUnchanged(): Promise<void> {
    const { client, url } = this.#source;
    const { identity } = await askServer(client, url, this.#stop.signal);
    const { size, etag, last_modified } = this.identity;
    if (identity.size !== size || identity.etag !== etag || identity.last_modified !== last_modified) throw changed(url);
  }

  notes(): string[] {
    if (this.identity.etag !== null || this.identity.last_modified !== null) return [];
    const name = safeName(this.#source.url);
    return [`The server of ${name} gives neither ETag nor Last-Modified: a change while it was read would not have been seen.`];
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#windows.values());
    this.#source.client.close();
  }

  #window(number: number): Promise<Buffer> {
    const known = this.#windows.get(number);
    if (known !== undefined) {
      this.#windows.delete(number);
      this.#windows.set(number, known);
      return known;
    }
    const oldest = this.#windows.keys().next().value;
    if (this.#windows.size >= WINDOWS && oldest !== undefined) this.#windows.delete(oldest);
    const window = this.#fetch(number);
    this.#windows.set(number, window);
    // A later call may have more luck.
    window.catch(() => this.#windows.delete(number));
    return window;
  }

  async #fetch(number: number): Promise<Buffer> {
    const bytes = this.#windowChunks * this.chunkSize;
    const window = Buffer.allocUnsafeSlow(Math.min(bytes, this.size - number * bytes));
    await fetchRange(this.#source, number * bytes, window, this.#stop.signal);
    return window;
  }
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new CancelledError('The work was stopped.', { cause: signal.reason }));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
