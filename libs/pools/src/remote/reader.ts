/** Reads a block over the pool protocol: every chunk that arrives is decoded once here and checked against its digest. */
import { crc32c } from '@node-rs/crc32';
import type { ChunkWorkers } from '@openservice/codec';
import { chunkCount, chunkLength, PermanentError, TransientError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { orAborted } from '../gate.ts';
import { DIGEST_BYTES, HOLE_DIGEST } from '../manifest.ts';
import type { BlockReader, ChunkRange, StoredChunk } from '../pool.ts';
import { again } from './again.ts';
import { fields, list, type OpenedBlock, whole } from './answers.ts';
import { ChunkFetcher } from './chunk-fetcher.ts';
import type { RemoteCall, RemoteClient } from './client.ts';
import { DIGESTS_PAGE, MAX_READ_BYTES, readItems } from './wire.ts';

/** Of 128 KiB each. */
const PAGES_KEPT = 8;

export class RemoteReader implements BlockReader {
  readonly size: number;
  readonly chunkSize: number;
  readonly rootDigest: Buffer;
  readonly #client: RemoteClient;
  readonly #workers: ChunkWorkers;
  readonly #block: OpenedBlock & { id: string; path: string };
  readonly #chunks: number;
  readonly #fetcher: ChunkFetcher;
  readonly #stop = new AbortController();
  readonly #pages = new Map<number, Promise<Buffer>>();

  constructor(client: RemoteClient, workers: ChunkWorkers, block: OpenedBlock & { id: string; path: string }) {
    this.size = block.size;
    this.chunkSize = block.chunkSize;
    this.rootDigest = block.rootDigest;
    this.#client = client;
    this.#workers = workers;
    this.#block = block;
    this.#chunks = chunkCount(block.size, block.chunkSize);
    this.#fetcher = new ChunkFetcher(client, block);
  }

  async *extents(from: number, signal: AbortSignal): AsyncIterable<ChunkRange> {
    let end = 0;
    for (let at: number | null = from; at !== null; ) {
      const answer = fields(await this.#client.json(this.#get('extents', { from: at }), signal));
      for (const range of list(answer.ranges)) {
        const [first, count] = list(range).map(whole);
        // Whoever walks along them relies on it that they go on, and end.
        if (first === undefined || count === undefined || first < end || first + count > this.#chunks)
          throw new PermanentError('not_a_pool_server', 'The pool server tells of extents that the block cannot have.');
        end = first + count;
        yield { first, count };
      }
      const next: number | null = answer.next === null ? null : whole(answer.next);
      if (next !== null && next <= at)
        throw new PermanentError('not_a_pool_server', 'The extents of the pool server go in circles.');
      at = next;
    }
  }

  async readChunk(index: number, target: Buffer, signal: AbortSignal): Promise<Buffer> {
    const chunk = await this.#fetch(index, signal);
    const length = chunkLength(this.size, this.chunkSize, index);
    if (chunk === null) {
      target.fill(0, 0, length);
      return HOLE_DIGEST;
    }
    await this.#decode(chunk, target.subarray(0, length), `Chunk ${index} of block ${this.#block.id}`);
    return chunk.digest;
  }

  /** Compressed as it travelled, whatever the pool behind the server is. */
  async readStored(index: number, signal: AbortSignal): Promise<StoredChunk | null> {
    const chunk = await this.#fetch(index, signal);
    if (chunk === null) return null;
    let at = 0;
    chunk.frames.forEach((length, i) => {
      if (crc32c(chunk.bytes.subarray(at, at + length)) !== chunk.crcs[i]) throw this.#damaged(`Frame ${i} of chunk ${index}`);
      at += length;
    });
    return chunk;
  }

  async knownDigest(index: number, signal: AbortSignal): Promise<Buffer | null> {
    throwIfCancelled(signal);
    this.#mustContain(index);
    if (!this.#block.digests) return null;
    const page = await orAborted(this.#page(Math.floor(index / DIGESTS_PAGE)), signal);
    const at = (index % DIGESTS_PAGE) * DIGEST_BYTES;
    return page.subarray(at, at + DIGEST_BYTES);
  }

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new PermanentError(
        'out_of_range',
        `Block ${this.#block.id} has ${this.size} bytes; ${length} from ${offset} on are not all there.`,
      );
    }
    throwIfCancelled(signal);
    const out = Buffer.alloc(length);
    for (let at = 0; at < length; at += MAX_READ_BYTES) {
      const part = out.subarray(at, at + MAX_READ_BYTES);
      await again(() => this.#readInto(part, offset + at, signal), signal);
    }
    return out;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#fetcher.close();
    this.#pages.clear();
  }

  async #fetch(index: number, signal: AbortSignal): Promise<StoredChunk | null> {
    throwIfCancelled(signal);
    this.#mustContain(index);
    const chunk = await this.#fetcher.get(index, signal);
    if (chunk !== null && chunk.rawLength !== chunkLength(this.size, this.chunkSize, index)) {
      throw this.#damaged(`The length of chunk ${index}`);
    }
    return chunk;
  }

  async #readInto(target: Buffer, offset: number, signal: AbortSignal): Promise<void> {
    const response = await this.#client.open(this.#get('bytes', { offset, length: target.length }), signal);
    let whole = false;
    for await (const item of readItems(this.#client.stream(response, signal))) {
      if (item.kind === 'failure') throw item.error;
      if (item.kind === 'end') whole = true;
      else if (item.kind === 'hole') target.fill(0);
      else if (item.kind === 'chunk' && item.chunk.rawLength === target.length) {
        await this.#decode(item.chunk, target, `What was read at ${offset} of block ${this.#block.id}`);
      } else throw this.#damaged(`What was read at ${offset}`);
    }
    if (!whole) throw new TransientError('unreachable', `The pool server ${this.#client.name} broke off its answer.`);
  }

  async #decode(chunk: StoredChunk, target: Buffer, what: string): Promise<void> {
    const plain = await this.#workers.decode(chunk.bytes, target, chunk);
    if (!plain.equals(chunk.digest))
      throw new PermanentError('damaged_chunk', `${what} came with bytes of another digest than its own.`);
  }

  #page(number: number): Promise<Buffer> {
    const there = this.#pages.get(number);
    if (there !== undefined) {
      this.#pages.delete(number);
      this.#pages.set(number, there);
      return there;
    }
    const from = number * DIGESTS_PAGE;
    const bytes = Math.min(DIGESTS_PAGE, this.#chunks - from) * DIGEST_BYTES;
    const page = this.#client.bytes(this.#get('digests', { from }), this.#stop.signal).then((got) => {
      if (got.length !== bytes) throw this.#damaged(`The page of digests from ${from} on`);
      return got;
    });
    page.catch(() => this.#pages.delete(number));
    this.#pages.set(number, page);
    if (this.#pages.size > PAGES_KEPT) this.#pages.delete(this.#pages.keys().next().value!);
    return page;
  }

  #get(what: string, query: Record<string, number>): RemoteCall {
    const text = Object.entries(query).map(([name, value]) => `&${name}=${value}`);
    const path = `${this.#block.path}/${what}?root_digest=${this.rootDigest.toString('hex')}${text.join('')}`;
    return { method: 'GET', path, block: this.#block.id, right: 'read' };
  }

  #mustContain(index: number): void {
    if (index < 0 || index >= this.#chunks)
      throw new PermanentError('out_of_range', `Block ${this.#block.id} has no chunk ${index}.`);
  }

  #damaged(what: string): PermanentError {
    return new PermanentError(
      'damaged_chunk',
      `${what} of block ${this.#block.id} came damaged from the pool server ${this.#client.name}.`,
    );
  }
}
