/**
 * Chunks by batches: calls that are made while requests are under way go together into the next one. Each call resolves as its chunk
 * arrives. A batch that breaks off goes on with what it still lacks.
 */
import { setMaxListeners } from 'node:events';
import { CancelledError, TransientError } from '@openservice/domain';
import { orAborted } from '../gate.ts';
import type { StoredChunk } from '../pool.ts';
import { MAX_TRIES, mayTryAgain, pauseBefore } from './again.ts';
import type { RemoteClient } from './client.ts';
import { type Item, readItems } from './wire.ts';

const REQUESTS = 4;
const PER_REQUEST = 16;

interface Wanted {
  index: number;
  signal: AbortSignal;
  /** Null: a hole. */
  resolve: (chunk: StoredChunk | null) => void;
  reject: (error: unknown) => void;
}

export class ChunkFetcher {
  readonly #client: RemoteClient;
  readonly #block: { id: string; path: string; rootDigest: Buffer };
  readonly #stop = new AbortController();
  readonly #settled = new WeakSet<Wanted>();
  #queue: Wanted[] = [];
  #running = 0;
  #scheduled = false;

  constructor(client: RemoteClient, block: { id: string; path: string; rootDigest: Buffer }) {
    this.#client = client;
    this.#block = block;
    setMaxListeners(0, this.#stop.signal);
  }

  get(index: number, signal: AbortSignal): Promise<StoredChunk | null> {
    if (this.#stop.signal.aborted) return Promise.reject(new CancelledError('The reader was closed.'));
    const chunk = new Promise<StoredChunk | null>((resolve, reject) => {
      this.#queue.push({ index, signal, resolve, reject });
      this.#schedule();
    });
    return orAborted(chunk, signal);
  }

  close(): void {
    this.#stop.abort();
    for (const wanted of this.#queue.splice(0)) wanted.reject(new CancelledError('The reader was closed.'));
  }

  /** After this turn of the event loop, so that calls made in one turn travel together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#queue = this.#queue.filter(({ signal }) => !signal.aborted);
      while (this.#running < REQUESTS && this.#queue.length > 0) {
        this.#running++;
        void this.#batch(this.#queue.splice(0, PER_REQUEST)).finally(() => {
          this.#running--;
          if (this.#queue.length > 0) this.#schedule();
        });
      }
    });
  }

  async #batch(all: Wanted[]): Promise<void> {
    let left = all;
    for (let tries = 1; ; tries++) {
      const before = left.length;
      try {
        left = await this.#fetch(left);
        if (left.length === 0) return;
        throw new TransientError('unreachable', `The pool server ${this.#client.name} left out chunks that it was asked for.`);
      } catch (error) {
        left = left.filter((wanted) => !this.#settled.has(wanted) && !wanted.signal.aborted);
        if (left.length === 0) return;
        if (left.length < before) tries = 1;
        if (!mayTryAgain(error) || tries >= MAX_TRIES) {
          for (const wanted of left) wanted.reject(error);
          return;
        }
        await pauseBefore(tries, this.#stop.signal).catch(() => undefined);
      }
    }
  }

  /** Answers those that got no answer. Stops when nobody waits for any of them any more. */
  async #fetch(wanted: readonly Wanted[]): Promise<Wanted[]> {
    const waiting = new Set(wanted);
    const control = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, control.signal]);
    const onAbort = (): void => {
      if ([...waiting].every((one) => one.signal.aborted)) control.abort();
    };
    for (const one of wanted) one.signal.addEventListener('abort', onAbort);
    try {
      onAbort();
      const { id, path, rootDigest } = this.#block;
      const json = { root_digest: rootDigest.toString('hex'), indexes: wanted.map(({ index }) => index) };
      const call = { method: 'POST', path: `${path}/chunks`, block: id, right: 'read', json } as const;
      const response = await this.#client.open(call, signal);
      for await (const item of readItems(this.#client.stream(response, signal))) {
        if (item.kind === 'end') return [...waiting];
        for (const one of waiting) {
          if (one.index !== item.index) continue;
          waiting.delete(one);
          this.#settle(one, item);
        }
      }
      throw new TransientError('unreachable', `The pool server ${this.#client.name} broke off its answer.`);
    } finally {
      for (const one of wanted) one.signal.removeEventListener('abort', onAbort);
    }
  }

  #settle(wanted: Wanted, item: Item): void {
    this.#settled.add(wanted);
    if (item.kind === 'chunk') wanted.resolve(item.chunk);
    else if (item.kind === 'hole') wanted.resolve(null);
    else if (item.kind === 'failure') wanted.reject(item.error);
    else
      wanted.reject(
        new TransientError('unreachable', `The pool server ${this.#client.name} answered with an item that is no chunk.`),
      );
  }
}
