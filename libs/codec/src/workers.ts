/**
 * ChunkWorkers on worker threads.
 *
 * A call waits in `#waiting` until the least busy thread has fewer than PER_THREAD calls posted; only then are buffers
 * that are not shared copied, so copies never outnumber threads × PER_THREAD however many calls wait; they go into buffers
 * that are used again and again. A thread that dies
 * fails what it had in hand with a TransientError (`worker_died`) and is replaced at the next call.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { CancelledError, PermanentError, TransientError } from '@openservice/domain';
import type { ChunkReply, ChunkRequest } from './messages.ts';
import type { ChunkSeal, ChunkWorkers, EncodedChunk } from './port.ts';
import { type EncodeOptions, roomToEncode } from './room.ts';
import { Scratch } from './scratch.ts';
import { isShared } from './shared-buffer.ts';

const PER_THREAD = 3;
/** A thread's data lies in the callers' buffers; without these V8 would give each thread tens of MiB of young generation. */
const LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 };

export interface ChunkWorkersOptions {
  /** Default: one a core, four at most. */
  threads?: number;
}

interface Call {
  /** Made when the call is posted; `carry` answers shared memory with the bytes. */
  request: (carry: (bytes: Buffer) => Uint8Array) => ChunkRequest;
  /** Carries this call's bytes; free again once a thread has answered. */
  scratch: Buffer | null;
  resolve: (reply: ChunkReply) => void;
  reject: (error: Error) => void;
}

interface Thread {
  worker: Worker;
  calls: Map<number, Call>;
}

export function createChunkWorkers(options: ChunkWorkersOptions = {}): ChunkWorkers {
  return new ThreadedChunkWorkers(options.threads ?? Math.min(4, availableParallelism()));
}

class ThreadedChunkWorkers implements ChunkWorkers {
  readonly #size: number;
  readonly #scratch: Scratch;
  readonly #threads: Thread[] = [];
  readonly #waiting: Call[] = [];
  #nextId = 1;
  #closed = false;

  constructor(size: number) {
    this.#size = Math.max(1, size);
    this.#scratch = new Scratch(this.#size * PER_THREAD);
  }

  async digest(bytes: Buffer): Promise<Buffer> {
    const reply = await this.#call((carry) => ({ op: 'digest', bytes: carry(bytes) }));
    return asBuffer(reply.digest);
  }

  async encode(bytes: Buffer, out: Buffer, options: EncodeOptions): Promise<EncodedChunk> {
    const shared = isShared(out) ? out : null;
    const room = roomToEncode(bytes.length, options);
    if (out.length < room) throw new RangeError(`encode: out has ${out.length} bytes, ${room} are needed`);
    const small = options.seal === undefined ? options : { ...options, seal: ownSeal(options.seal) };
    const reply = await this.#call((carry) => ({ op: 'encode', bytes: carry(bytes), out: shared, ...small }));
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
    const reply = await this.#call((carry) => ({ op: 'decode', stored: carry(stored), target: shared, layout: small }));
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

  #call(request: Call['request']): Promise<ChunkReply> {
    if (this.#closed) return Promise.reject(new CancelledError('The chunk workers were closed.'));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, scratch: null, resolve, reject });
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#leastBusy();
      if (thread === null) return;
      const call = this.#waiting.shift() as Call;
      const id = this.#nextId++;
      thread.calls.set(id, call);
      thread.worker.ref();
      thread.worker.postMessage({ id, request: call.request((bytes) => this.#carry(call, bytes)) });
    }
  }

  /** Shared memory as it is; else a copy of just these bytes. */
  #carry(call: Call, bytes: Buffer): Uint8Array {
    if (isShared(bytes)) return bytes;
    call.scratch = this.#scratch.take(bytes.length);
    bytes.copy(call.scratch);
    return call.scratch.subarray(0, bytes.length);
  }

  /** The thread to give the next call to, started where there are too few; null when all have enough. */
  #leastBusy(): Thread | null {
    let best: Thread | null = null;
    for (const thread of this.#threads) if (best === null || thread.calls.size < best.calls.size) best = thread;
    if ((best === null || best.calls.size > 0) && this.#threads.length < this.#size) return this.#start();
    return best !== null && best.calls.size < PER_THREAD ? best : null;
  }

  #start(): Thread {
    const worker = new Worker(new URL('./chunk-worker.ts', import.meta.url), {
      name: 'chunk-worker',
      resourceLimits: LIMITS,
    });
    const thread: Thread = { worker, calls: new Map() };
    this.#threads.push(thread);
    worker.on('message', (reply: ChunkReply) => this.#settle(thread, reply));
    worker.on('error', (error) => this.#bury(thread, error));
    worker.on('exit', (code) => this.#bury(thread, new Error(`exit code ${code}`)));
    return thread;
  }

  #settle(thread: Thread, reply: ChunkReply): void {
    const call = thread.calls.get(reply.id);
    thread.calls.delete(reply.id);
    if (call !== undefined && call.scratch !== null) this.#scratch.giveBack(call.scratch);
    // An idle thread must not keep the process alive.
    if (thread.calls.size === 0) thread.worker.unref();
    if (reply.failure === undefined) call?.resolve(reply);
    else if (reply.failure.code === null) call?.reject(new Error(reply.failure.message));
    else call?.reject(new PermanentError(reply.failure.code, reply.failure.message));
    this.#pump();
  }

  #bury(thread: Thread, cause: Error): void {
    const at = this.#threads.indexOf(thread);
    if (at < 0) return;
    this.#threads.splice(at, 1);
    fail(thread, new TransientError('worker_died', `A chunk worker thread died: ${cause.message}.`, { cause }));
    this.#pump();
  }
}

function fail(thread: Thread, error: Error): void {
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
