/**
 * Items on their way to a write session: what is given while requests are under way goes together into the next one, within the bounds of
 * a body. `put` resolves once the server's pool has taken the item, so whoever waits for it cannot run ahead of the pool.
 */
import type { OpenServiceError } from '@openservice/domain';
import { encodedLength, encodeItem, type Item, MAX_BATCH_ITEMS, MAX_BODY_BYTES } from './wire.ts';

const REQUESTS = 4;

export type PutItem = Extract<Item, { kind: 'chunk' | 'known' | 'hole' }>;

interface Waiting {
  item: PutItem;
  parts: Buffer[];
  bytes: number;
  signal: AbortSignal | null;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** Sends one body; answers the failures of single items by their place in it. */
export type SendBatch = (body: readonly Buffer[], items: readonly PutItem[]) => Promise<Map<number, OpenServiceError>>;

export class PutBatches {
  readonly #send: SendBatch;
  readonly #queue: Waiting[] = [];
  readonly #underWay = new Set<Promise<void>>();
  #scheduled = false;

  constructor(send: SendBatch) {
    this.#send = send;
  }

  put(item: PutItem, signal: AbortSignal | null): Promise<void> {
    return new Promise((resolve, reject) => {
      const parts = encodeItem(item);
      this.#queue.push({ item, parts, bytes: encodedLength(parts), signal, resolve, reject });
      this.#schedule();
    });
  }

  /** Resolves when all that was put before the call has its answer, good or bad. */
  async settle(): Promise<void> {
    while (this.#queue.length > 0 || this.#underWay.size > 0) {
      this.#pump();
      await Promise.all(this.#underWay);
    }
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#underWay.size < REQUESTS && this.#queue.length > 0) {
      const batch = this.#take();
      if (batch.length === 0) continue;
      const sent = this.#deliver(batch).finally(() => {
        this.#underWay.delete(sent);
        this.#pump();
      });
      this.#underWay.add(sent);
    }
  }

  #take(): Waiting[] {
    const batch: Waiting[] = [];
    let bytes = 0;
    while (this.#queue.length > 0 && batch.length < MAX_BATCH_ITEMS) {
      const next = this.#queue[0]!;
      if (batch.length > 0 && bytes + next.bytes > MAX_BODY_BYTES) break;
      this.#queue.shift();
      if (next.signal?.aborted === true) next.reject(next.signal.reason);
      else {
        batch.push(next);
        bytes += next.bytes;
      }
    }
    return batch;
  }

  async #deliver(batch: readonly Waiting[]): Promise<void> {
    try {
      const failed = await this.#send(
        batch.flatMap(({ parts }) => parts),
        batch.map(({ item }) => item),
      );
      batch.forEach((one, at) => {
        const error = failed.get(at);
        if (error === undefined) one.resolve();
        else one.reject(error);
      });
    } catch (error) {
      for (const one of batch) one.reject(error);
    }
  }
}
