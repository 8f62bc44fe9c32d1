/**
 * ChunkWorkers on worker threads.
 *
 * A call waits in `#waiting` until the least busy thread has room; only then are buffers that are not shared copied, so
 * copies are few however many calls wait; they go into buffers that are used again and again. Calls of one turn of the event loop
 * travel together: for a chunk of 128 KiB a message each way costs as much as its digest. A thread that dies
 * fails what it had in hand with a TransientError (`worker_died`) and is replaced at the next call.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { CancelledError, PermanentError, TransientError } from '@openservice/domain';
import type { ChunkMessage, ChunkReply, ChunkRequest, ChunkWork } from './messages.ts';
import type { ChunkSeal, ChunkWorkers, EncodedChunk } from './port.ts';
import { type EncodeOptions, roomToEncode } from './room.ts';
import { Scratch } from './scratch.ts';
import { isShared } from './shared-buffer.ts';
import { type Place, ShelfOf } from './shelf.ts';

/** What a thread may have in hand: two messages' worth, so that it has one to go on with while the other is answered. */
const PER_THREAD = 8;
const PER_MESSAGE = 4;
/** Large chunks are few: a small read of a live disk must not wait for many of them. */
const BYTES_PER_THREAD = 2 * 1024 * 1024;
/** A thread's data lies in the callers' buffers; without these V8 would give each thread tens of MiB of young generation. */
const LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 };

export interface ChunkWorkersOptions {
  /** Default: one a core, four at most. */
  threads?: number;
  /** The threads start now, not at the first call that needs them: what waits for it would wait for their start, too. */
  eager?: boolean;
}

interface Call {
  /** Plain bytes that it is about. */
  bytes: number;
  /** Made when the call is posted; `carry` answers shared memory with the bytes. */
  request: (carry: (bytes: Buffer) => Place) => ChunkWork;
  /** Carries this call's bytes; free again once a thread has answered. */
  scratch: Buffer | null;
  resolve: (reply: ChunkReply) => void;
  reject: (error: Error) => void;
}

interface Thread {
  worker: Worker;
  calls: Map<number, Call>;
  /** Of its calls together. */
  bytes: number;
  shelf: ShelfOf;
  /** Calls to go with the next message. */
  batch: ChunkRequest[];
}

export function createChunkWorkers(options: ChunkWorkersOptions = {}): ChunkWorkers {
  const workers = new ThreadedChunkWorkers(options.threads ?? Math.min(4, availableParallelism()));
  if (options.eager === true) workers.start();
  return workers;
}

class ThreadedChunkWorkers implements ChunkWorkers {
  readonly #size: number;
  readonly #scratch: Scratch;
  readonly #threads: Thread[] = [];
  readonly #waiting: Call[] = [];
  #nextId = 1;
  #closed = false;
  #planned = false;

  constructor(size: number) {
    this.#size = Math.max(1, size);
    this.#scratch = new Scratch(this.#size * PER_THREAD);
  }

  start(): void {
    while (this.#threads.length < this.#size) this.#start().worker.unref();
  }

  async digest(bytes: Buffer): Promise<Buffer> {
    const reply = await this.#call(bytes.length, (carry) => ({ op: 'digest', bytes: carry(bytes) }));
    return asBuffer(reply.digest);
  }

  async digestCached(fd: number, offset: number, target: Buffer): Promise<Buffer | null> {
    if (!isShared(target)) return null;
    const { digest } = await this.#call(target.length, (carry) => ({ op: 'read', fd, offset, into: carry(target) }));
    return digest === undefined ? null : asBuffer(digest);
  }

  async encode(bytes: Buffer, out: Buffer, options: EncodeOptions): Promise<EncodedChunk> {
    const shared = isShared(out) ? out : null;
    const room = roomToEncode(bytes.length, options);
    if (out.length < room) throw new RangeError(`encode: out has ${out.length} bytes, ${room} are needed`);
    const small = options.seal === undefined ? options : { ...options, seal: ownSeal(options.seal) };
    const reply = await this.#call(bytes.length, (carry) => ({
      op: 'encode',
      bytes: carry(bytes),
      out: shared === null ? null : carry(shared),
      ...small,
    }));
    const list = reply.frames;
    if (list === undefined) throw new Error('a chunk worker answered encode without frames');
    if (reply.output !== undefined) asBuffer(reply.output).copy(out, 0, 0, list.length);
    return { codec: list.codec, frames: list.frames, crcs: list.crcs, bytes: out.subarray(0, list.length) };
  }

  async decode(stored: Buffer, target: Buffer, layout: Parameters<ChunkWorkers['decode']>[2]): Promise<Buffer> {
    const shared = isShared(target) ? target : null;
    if (target.length < layout.rawLength) {
      throw new RangeError(`decode: target has ${target.length} bytes, the chunk ${layout.rawLength}`);
    }
    const small = layout.seal === undefined ? layout : { ...layout, seal: ownSeal(layout.seal) };
    const reply = await this.#call(layout.rawLength, (carry) => ({
      op: 'decode',
      stored: carry(stored),
      target: shared === null ? null : carry(shared),
      layout: small,
    }));
    if (reply.output !== undefined) asBuffer(reply.output).copy(target);
    return asBuffer(reply.digest);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const gone = new CancelledError('The chunk workers were closed.');
    for (const call of this.#waiting.splice(0)) call.reject(gone);
    await Promise.all(
      this.#threads.splice(0).map(async (thread) => {
        fail(thread, gone);
        await thread.worker.terminate();
      }),
    );
  }

  #call(bytes: number, request: Call['request']): Promise<ChunkReply> {
    if (this.#closed) return Promise.reject(new CancelledError('The chunk workers were closed.'));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, request, scratch: null, resolve, reject });
      this.#plan();
    });
  }

  #plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    setImmediate(() => {
      this.#planned = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#leastBusy();
      if (thread === null) break;
      const call = this.#waiting.shift() as Call;
      const id = this.#nextId++;
      thread.calls.set(id, call);
      thread.bytes += call.bytes;
      thread.batch.push({ id, ...call.request((bytes) => this.#carry(call, thread.shelf, bytes)) });
      if (thread.batch.length === PER_MESSAGE) post(thread);
    }
    for (const thread of this.#threads) if (thread.batch.length > 0) post(thread);
  }

  /** Shared memory as it is; else a copy of just these bytes. */
  #carry(call: Call, shelf: ShelfOf, bytes: Buffer): Place {
    if (isShared(bytes)) return shelf.place(bytes);
    call.scratch = this.#scratch.take(bytes.length);
    bytes.copy(call.scratch);
    return shelf.place(call.scratch.subarray(0, bytes.length));
  }

  /** The thread to give the next call to, started where there are too few; null when all have enough. */
  #leastBusy(): Thread | null {
    let best: Thread | null = null;
    for (const thread of this.#threads) if (best === null || thread.calls.size < best.calls.size) best = thread;
    if ((best === null || best.calls.size > 0) && this.#threads.length < this.#size) return this.#start();
    return best !== null && hasRoom(best) ? best : null;
  }

  #start(): Thread {
    const worker = new Worker(new URL('./chunk-worker.ts', import.meta.url), {
      name: 'chunk-worker',
      resourceLimits: LIMITS,
    });
    const thread: Thread = { worker, calls: new Map(), bytes: 0, shelf: new ShelfOf(), batch: [] };
    this.#threads.push(thread);
    worker.on('message', (replies: ChunkReply[]) => {
      for (const reply of replies) this.#settle(thread, reply);
      // An idle thread must not keep the process alive.
      if (thread.calls.size === 0) thread.worker.unref();
      if (this.#waiting.length > 0) this.#plan();
    });
    worker.on('error', (error) => this.#bury(thread, error));
    worker.on('exit', (code) => this.#bury(thread, new Error(`exit code ${code}`)));
    return thread;
  }

  #settle(thread: Thread, reply: ChunkReply): void {
    const call = thread.calls.get(reply.id);
    thread.calls.delete(reply.id);
    if (call !== undefined) thread.bytes -= call.bytes;
    if (call !== undefined && call.scratch !== null) this.#scratch.giveBack(call.scratch);
    if (reply.failure === undefined) call?.resolve(reply);
    else if (reply.failure.code === null) call?.reject(new Error(reply.failure.message));
    else call?.reject(new PermanentError(reply.failure.code, reply.failure.message));
  }

  #bury(thread: Thread, cause: Error): void {
    const at = this.#threads.indexOf(thread);
    if (at < 0) return;
    this.#threads.splice(at, 1);
    fail(thread, new TransientError('worker_died', `A chunk worker thread died: ${cause.message}.`, { cause }));
    this.#plan();
  }
}

function hasRoom(thread: Thread): boolean {
  return thread.calls.size < 2 || (thread.calls.size < PER_THREAD && thread.bytes < BYTES_PER_THREAD);
}

function post(thread: Thread): void {
  thread.worker.ref();
  const requests = thread.batch.splice(0);
  thread.worker.postMessage({ shelf: thread.shelf.news(), requests } satisfies ChunkMessage);
}

function fail(thread: Thread, error: Error): void {
  thread.shelf.close();
  for (const call of thread.calls.values()) call.reject(error);
  thread.calls.clear();
}

/** Not views of a pool: posting a view clones all of what it views. */
function ownSeal(seal: ChunkSeal): ChunkSeal {
  return { ...seal, key: own(seal.key), aad: own(seal.aad) };
}

function own(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

function asBuffer(bytes: Uint8Array | undefined): Buffer {
  if (bytes === undefined) throw new Error('a chunk worker answered without bytes');
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
