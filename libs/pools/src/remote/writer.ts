/**
 * Writes a block through a session on the pool server. `#taken`: chunks that the server's pool has taken; `#durable`: those that a checkpoint
 * has made safe; `#fresh`: what lies between. A session that the server has lost (restart, idle) is opened again without anybody noticing
 * where nothing is fresh; else TransientError `session_lost`, and the job goes on from what is durable.
 */
import { type ChunkWorkers, sharedBuffer } from '@openservice/codec';
import { chunkCount, FencedError, type OpenServiceError, PermanentError, TransientError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { orAborted } from '../gate.ts';
import { isHole } from '../manifest.ts';
import { Bitmap } from '../packs/bitmap.ts';
import type { BlockWriter, ChunkRange, Prepared, StoredChunk, WriteSession } from '../pool.ts';
import { fields, list, preparedFrom, whole } from './answers.ts';
import type { RemoteCall, RemoteClient } from './client.ts';
import { encodeChunk } from './encode.ts';
import { failureFromWire } from './failure.ts';
import { PutBatches, type PutItem } from './put-batches.ts';
import { type OpenedSession, openSession } from './session.ts';
import { DIGESTS_PAGE, encodedLength } from './wire.ts';

/** Digests that the pool said it has, kept until they are put. */
const MAX_PRESENT = 16_384;
/** A close that gets no answer is left to the server's own deadline. */
const CLOSE_MS = 5000;

export class RemoteWriter implements BlockWriter {
  readonly bytesKept?: number;
  readonly #client: RemoteClient;
  readonly #workers: ChunkWorkers;
  readonly #session: WriteSession;
  readonly #from: string | null;
  readonly #count: number;
  readonly #batches: PutBatches;
  readonly #stop = new AbortController();
  readonly #outs: Buffer[] = [];
  readonly #present = new Set<string>();
  readonly #taken: Bitmap;
  #path: string;
  #durable: Bitmap;
  #fresh: ChunkRange[] = [];
  #holes: ChunkRange | null = null;
  #broken: unknown = null;
  #reopening: Promise<void> | null = null;
  #checkpoints: Promise<void> = Promise.resolve();
  #prepared: Prepared | null = null;
  #ended = false;
  #closed: Promise<void> | null = null;
  #sent = 0;

  constructor(client: RemoteClient, workers: ChunkWorkers, session: WriteSession, from: string | null, opened: OpenedSession) {
    this.#client = client;
    this.#workers = workers;
    this.#session = session;
    this.#from = from;
    this.#count = chunkCount(session.size, session.chunkSize);
    this.#path = opened.path;
    this.#durable = opened.durable;
    this.#taken = new Bitmap(this.#count);
    this.#batches = new PutBatches((body, items) => this.#sendBatch(body, items));
    if (opened.bytesKept !== null) this.bytesKept = opened.bytesKept;
  }

  get bytesSent(): number {
    return this.#sent;
  }

  has(index: number): boolean {
    return this.#durable.has(index);
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    const answers: boolean[] = [];
    for (let at = 0; at < digests.length; at += DIGESTS_PAGE) {
      const page = digests.slice(at, at + DIGESTS_PAGE);
      const got = await this.#retried((path) =>
        this.#client.bytes({ ...this.#call(path, 'missing'), body: [Buffer.concat(page)] }, this.#stop.signal),
      );
      page.forEach((digest, i) => {
        const missing = got[i] !== 0;
        if (!missing && !isHole(digest)) this.#remember(digest);
        answers.push(missing);
      });
    }
    return answers;
  }

  async put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    this.#mustTake(index, 1);
    if (this.#has(index)) return;
    if (isHole(digest)) return this.hole(index, 1);
    if (bytes.length === 0 || this.#present.delete(digest.toString('latin1'))) {
      try {
        await this.#deliver({ kind: 'known', index, digest }, signal);
        return;
      } catch (error) {
        if (bytes.length === 0 || (error as Partial<OpenServiceError>).code !== 'chunk_bytes_needed') throw error;
      }
    }
    const out = this.#outs.pop() ?? sharedBuffer(this.#session.chunkSize);
    const chunk = await encodeChunk(this.#workers, digest, bytes, out);
    // Delivered means answered: nothing reads the buffer any more. One whose request was given up may still be on its way out.
    await this.#deliver({ kind: 'chunk', index, chunk }, signal);
    this.#outs.push(out);
  }

  async putStored(index: number, chunk: StoredChunk, signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    this.#mustTake(index, 1);
    if (this.#has(index)) return;
    if (this.#present.has(chunk.digest.toString('latin1'))) {
      try {
        await this.put(index, chunk.digest, Buffer.alloc(0), signal);
        return;
      } catch (error) {
        if ((error as Partial<OpenServiceError>).code !== 'chunk_bytes_needed') throw error;
      }
    }
    await this.#deliver({ kind: 'chunk', index, chunk }, signal);
  }

  hole(first: number, count: number): void {
    this.#mustTake(first, count);
    if (count === 0 || this.#durable.full(first, count)) return;
    const last = this.#holes;
    if (last !== null && last.first + last.count === first) {
      last.count += count;
      return;
    }
    this.#sendHoles();
    this.#holes = { first, count };
  }

  checkpoint(signal: AbortSignal): Promise<void> {
    const next = this.#checkpoints.catch(() => {}).then(() => this.#checkpoint(signal));
    this.#checkpoints = next;
    return next;
  }

  async prepare(signal: AbortSignal): Promise<Prepared> {
    throwIfCancelled(signal);
    if (this.#prepared !== null) return this.#prepared;
    await this.checkpoint(signal);
    this.#prepared = preparedFrom(await this.#end('prepare', signal));
    return this.#prepared;
  }

  async commit(signal: AbortSignal): Promise<void> {
    await this.prepare(signal);
    await this.#end('commit', signal);
  }

  async abort(signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    if (this.#ended) return;
    // Nothing of it is wanted any more: a lost session loses nothing.
    this.#fresh = [];
    this.#holes = null;
    await this.#end('abort', signal);
    this.#ended = true;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#stop.abort();
    await this.#batches.settle();
    const call: RemoteCall = { method: 'DELETE', path: this.#path, block: this.#session.blockId, right: 'write' };
    await this.#client.json(call, AbortSignal.timeout(CLOSE_MS), 1).catch(() => undefined);
  }

  async #checkpoint(signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    this.#sendHoles();
    await orAborted(this.#batches.settle(), signal);
    this.#mustBeWhole();
    const fresh = this.#fresh;
    this.#fresh = [];
    try {
      // With `fresh` taken out a lost session would look harmless: it is not.
      await this.#retried((path) => this.#client.json(this.#call(path, 'checkpoint'), signal), fresh.length === 0);
    } catch (error) {
      this.#fresh = [...fresh, ...this.#fresh];
      throw error;
    }
    for (const { first, count } of fresh) this.#durable.setRange(first, count);
  }

  #end(what: 'prepare' | 'commit' | 'abort', signal: AbortSignal): Promise<unknown> {
    return this.#retried((path) => this.#client.json(this.#call(path, what), signal));
  }

  async #deliver(item: PutItem, signal: AbortSignal): Promise<void> {
    this.#sendHoles();
    await orAborted(this.#batches.put(item, signal), signal);
  }

  #sendHoles(): void {
    const holes = this.#holes;
    if (holes === null) return;
    this.#holes = null;
    this.#batches.put({ kind: 'hole', index: holes.first, count: holes.count }, null).catch((error: unknown) => {
      this.#broken ??= error;
    });
  }

  async #sendBatch(body: readonly Buffer[], items: readonly PutItem[]): Promise<Map<number, OpenServiceError>> {
    const bytes = encodedLength(body);
    const answer = await this.#retried((path) => {
      this.#sent += bytes;
      return this.#client.json({ ...this.#call(path, 'chunks'), body }, this.#stop.signal);
    });
    const failed = new Map<number, OpenServiceError>();
    for (const one of list(fields(answer).failed)) failed.set(whole(fields(one).at), failureFromWire(fields(one).error));
    items.forEach((item, at) => {
      if (failed.has(at)) return;
      const range = { first: item.index, count: item.kind === 'hole' ? item.count : 1 };
      this.#taken.setRange(range.first, range.count);
      this.#fresh.push(range);
    });
    return failed;
  }

  #call(path: string, what: string): RemoteCall {
    return { method: 'POST', path: `${path}/${what}`, block: this.#session.blockId, right: 'write' };
  }

  /** Opens a lost session again and repeats the call, where nothing is lost with it. */
  async #retried<T>(call: (path: string) => Promise<T>, harmless = true): Promise<T> {
    for (;;) {
      const path = this.#path;
      try {
        const answer = await call(path);
        // An answer of a session that was lost meanwhile counts for nothing in the new one.
        if (path === this.#path) return answer;
      } catch (error) {
        if (!(error instanceof TransientError) || error.code !== 'session_lost') throw error;
        if (!harmless || this.#fresh.length > 0 || this.#closed !== null) throw error;
        if (this.#path !== path) continue;
        this.#reopening ??= this.#reopen().finally(() => {
          this.#reopening = null;
        });
        await this.#reopening;
      }
    }
  }

  async #reopen(): Promise<void> {
    const opened = await openSession(this.#client, this.#session, this.#from, this.#stop.signal);
    if (opened === null) throw new FencedError(`Block ${this.#session.blockId} cannot be cloned any more.`);
    for (
      let index = this.#durable.firstSet(0, this.#count);
      index !== null;
      index = this.#durable.firstSet(index + 1, this.#count)
    ) {
      if (!opened.durable.has(index)) {
        throw new TransientError('session_lost', `The pool server ${this.#client.name} has lost chunk ${index} of the session.`);
      }
    }
    this.#path = opened.path;
    this.#durable = opened.durable;
  }

  #has(index: number): boolean {
    return this.#durable.has(index) || this.#taken.has(index);
  }

  #remember(digest: Buffer): void {
    this.#present.add(digest.toString('latin1'));
    if (this.#present.size > MAX_PRESENT) this.#present.delete(this.#present.values().next().value!);
  }

  #mustTake(first: number, count: number): void {
    this.#mustBeWhole();
    if (this.#closed !== null)
      throw new PermanentError('writer_closed', `The writer of block ${this.#session.blockId} is closed.`);
    if (first < 0 || count < 0 || first + count > this.#count) {
      throw new PermanentError(
        'out_of_range',
        `Block ${this.#session.blockId} has ${this.#count} chunks; ${first} + ${count} is past them.`,
      );
    }
  }

  #mustBeWhole(): void {
    if (this.#broken !== null) throw this.#broken;
  }
}
