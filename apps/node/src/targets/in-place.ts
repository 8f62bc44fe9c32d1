/**
 * A restore that writes over what is there. It is not atomic: until it has ended the target is part old, part new, and an abort leaves it
 * so; the journal's state says how far it is. A run that goes on reads back what earlier runs made durable, and writes only what differs.
 */
import { type ChunkWorkers, sharedBuffer } from '@openservice/codec';
import { chunkLength } from '@openservice/domain';
import type { Prepared } from '@openservice/pools';
import { OrderedRoot } from '@openservice/transfer';
import { z } from 'zod';
import type { Place } from './place.ts';
import type { RestoreTarget } from './port.ts';
import { Zeroing } from './zeroing.ts';

export const inPlaceState = z.object({
  in_place: z.unknown(),
  /** This many chunks from the start are durable. */
  chunks: z.number().int().nonnegative(),
  /** Hex: all of it is there and durable, under this root. */
  root: z.string().nullable(),
});
export type InPlaceState = z.infer<typeof inPlaceState>;

export interface InPlaceOptions {
  place: Place;
  size: number;
  chunkSize: number;
  /** Every chunk is compared before it is written. */
  delta: boolean;
  /** What the last checkpoint of this job holds, of this very place; null: begin anew. */
  resume: InPlaceState | null;
  workers: ChunkWorkers;
}

export class InPlaceTarget implements RestoreTarget {
  readonly committed = false;
  readonly #options: InPlaceOptions;
  readonly #root: OrderedRoot;
  readonly #zeroing: Zeroing;
  readonly #buffers: Buffer[] = [];
  #durable: number;
  #prepared: Buffer | null;
  #bytesSent = 0;

  constructor(options: InPlaceOptions) {
    this.#options = options;
    this.#root = new OrderedRoot(options);
    this.#zeroing = new Zeroing(options.place);
    this.#durable = options.resume?.chunks ?? 0;
    const root = options.resume?.root ?? null;
    this.#prepared = root === null ? null : Buffer.from(root, 'hex');
  }

  get state(): InPlaceState {
    return { in_place: this.#options.place.identity, chunks: this.#durable, root: this.#prepared?.toString('hex') ?? null };
  }

  get bytesSent(): number {
    return this.#bytesSent;
  }

  has(): boolean {
    return this.#prepared !== null;
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    return digests.map(() => true);
  }

  async holds(index: number, digest: Buffer, signal: AbortSignal): Promise<boolean> {
    const { delta, resume, size, chunkSize, place, workers } = this.#options;
    if (!delta && index >= (resume?.chunks ?? 0)) return false;
    const buffer = this.#buffers.pop() ?? sharedBuffer(chunkSize);
    const there = buffer.subarray(0, chunkLength(size, chunkSize, index));
    await place.read(index * chunkSize, there, signal);
    const equal = (await workers.digest(there)).equals(digest);
    // After an error the buffer is not given back: something may still write into it.
    this.#buffers.push(buffer);
    if (equal) this.#root.chunk(index, digest);
    return equal;
  }

  async put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    await this.#zeroing.room(signal);
    await this.#options.place.write(index * this.#options.chunkSize, bytes, signal);
    this.#bytesSent += bytes.length;
    this.#root.chunk(index, digest);
  }

  hole(first: number, count: number): void {
    const { size, chunkSize } = this.#options;
    this.#root.holes(first, count);
    this.#zeroing.add(first * chunkSize, Math.min((first + count) * chunkSize, size));
  }

  async checkpoint(signal: AbortSignal): Promise<void> {
    const chunks = this.#root.next;
    await this.#zeroing.done(signal);
    await this.#options.place.flush(signal);
    this.#durable = Math.max(this.#durable, chunks);
  }

  async prepare(signal: AbortSignal): Promise<Prepared> {
    if (this.#prepared === null) {
      const root = this.#root.digest();
      if (root === null) throw new Error(`chunk ${this.#root.next} was never put`);
      await this.#zeroing.done(signal);
      await this.#options.place.flush(signal);
      this.#durable = this.#root.next;
      this.#prepared = root;
    }
    return { rootDigest: this.#prepared, storedBytes: await this.#options.place.storedBytes() };
  }

  /** All is there and durable since prepare(). */
  async commit(): Promise<void> {}

  /** What was written over is gone: there is nothing to go back to. */
  async abort(): Promise<void> {}

  async close(): Promise<void> {
    await this.#zeroing.stop();
    await this.#options.place.close();
  }
}
