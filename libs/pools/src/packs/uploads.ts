/**
 * Packs on their way to the backend, in the background of the puts that fill them. A pack's session record is written once the pack is
 * durable, and only then do its bytes leave the gate: what is in the gate is what a crash makes a later attempt send again, so the gate is
 * narrow in proportion to what was sent.
 */
import { MIB } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { Gate } from '../gate.ts';
import { packKey, sessionKey } from './keys.ts';
import { PACK_ENTRY_BYTES, PACK_HEADER_BYTES, PACK_TRAILER_BYTES, PackBuilder } from './pack.ts';
import { encodeSessionRecord, type SessionSegment } from './session-record.ts';
import type { WriterState } from './writer-state.ts';

const MIN_PACK_BYTES = 4 * MIB;
const MAX_PACK_BYTES = 32 * MIB;
const MIN_FLIGHT_BYTES = 8 * MIB;
const MAX_FLIGHT_BYTES = 64 * MIB;

export interface OpenPack {
  builder: PackBuilder;
  /** Chunks whose place is in this pack, or that wait for it. */
  indexes: number[];
}

export class Uploads {
  readonly #backend: Backend;
  readonly #state: WriterState;
  readonly #blockId: string;
  readonly #fence: number;
  readonly #salt: Buffer;
  readonly #stop: AbortSignal;
  readonly #gate = new Gate(() => Math.min(MAX_FLIGHT_BYTES, Math.max(MIN_FLIGHT_BYTES, this.#stored * 0.02)));
  /** Packs whose record is not being written yet, by number: their indexes can still grow. */
  readonly #unrecorded = new Map<number, OpenPack>();
  readonly #running = new Set<Promise<void>>();
  readonly #spare: Buffer[] = [];
  #loose: number[] = [];
  #segments: SessionSegment[] = [];
  #sequence: number;
  #stored = 0;
  /** Bytes in packs that earlier runs made durable. */
  readonly bytesKept: number;
  #failure: unknown = null;

  constructor(
    backend: Backend,
    state: WriterState,
    session: { blockId: string; fence: number; salt: Buffer; firstSequence: number; storedBefore: number },
    stop: AbortSignal,
  ) {
    this.#backend = backend;
    this.#state = state;
    this.#blockId = session.blockId;
    this.#fence = session.fence;
    this.#salt = session.salt;
    this.#sequence = session.firstSequence;
    this.#stored = session.storedBefore;
    this.bytesKept = session.storedBefore;
    this.#stop = stop;
  }

  get failure(): unknown {
    return this.#failure;
  }

  /** Bytes handed to the backend by this writer. */
  get bytesSent(): number {
    return this.#backend.bytesSent;
  }

  /** True while a full pack waits for the gate: nobody should fill another one yet. */
  get crowded(): boolean {
    return this.#gate.waiting > 0;
  }

  /** Resolves when one of the packs under way is done. */
  async progress(): Promise<void> {
    await Promise.race(this.#running);
  }

  /** A new pack with room for at least a record of `recordBytes`. */
  newPack(recordBytes: number): OpenPack {
    const target = Math.min(MAX_PACK_BYTES, Math.max(MIN_PACK_BYTES, Math.floor(this.#stored / 100)));
    const around = PACK_HEADER_BYTES + PACK_TRAILER_BYTES;
    // Never more than the whole block can fill.
    const most = around + this.#state.chunks * (recordBytes + PACK_ENTRY_BYTES);
    const bytes = Math.max(Math.min(target, most), around + recordBytes + PACK_ENTRY_BYTES);
    let buffer = this.#spare.pop();
    if (buffer === undefined || buffer.length < bytes) buffer = Buffer.allocUnsafeSlow(bytes);
    const pack = { builder: new PackBuilder(this.#state.packs.reserve(), buffer, this.#salt), indexes: [] };
    this.#unrecorded.set(pack.builder.number, pack);
    return pack;
  }

  /** Chunk `index` lies in pack `number`, which may be durable long since. */
  attach(index: number, number: number): void {
    (this.#unrecorded.get(number)?.indexes ?? this.#loose).push(index);
  }

  /** The next record names a segment that the manifest will need. */
  relyOn(segment: SessionSegment): void {
    this.#segments.push(segment);
  }

  /** Sends the pack off. Its failure shows in `failure`. */
  send(pack: OpenPack): void {
    const { name, bytes } = pack.builder.finish();
    this.#state.packs.set(pack.builder.number, Buffer.from(name, 'hex'), bytes.length);
    this.#run(async () => {
      await this.#gate.enter(bytes.length);
      try {
        if (this.#failure !== null) return;
        await this.#backend.put(packKey(name), bytes, this.#stop);
        this.#stored += bytes.length;
        this.#unrecorded.delete(pack.builder.number);
        await this.#record(pack.indexes, pack.builder.number);
        if (this.#spare.length < 2) this.#spare.push(pack.builder.buffer);
      } finally {
        this.#gate.leave(bytes.length);
      }
    });
  }

  /** All that was sent off is durable and recorded, holes, repeated chunks and segments too. */
  async settle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    this.throwFailure();
    if (this.#loose.length === 0 && this.#segments.length === 0 && !this.#state.hasHoles) return;
    await this.#record([], null);
  }

  throwFailure(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** Waits until nothing is under way any more, however it ended. */
  async quiet(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /** A small object of the session. */
  async putObject(key: string, bytes: Buffer): Promise<void> {
    await this.#backend.put(key, bytes, this.#stop);
  }

  async #record(indexes: number[], pack: number | null): Promise<void> {
    const loose = this.#loose;
    this.#loose = [];
    const all = loose.length === 0 ? indexes : [...indexes, ...loose];
    const holes = this.#state.takeHoles();
    const segments = this.#segments;
    this.#segments = [];
    const record = encodeSessionRecord(this.#state.recordOf(all, holes, pack, segments));
    try {
      await this.putObject(sessionKey(this.#blockId, this.#fence, this.#sequence++), record);
    } catch (error) {
      this.#failure ??= error;
      throw error;
    }
    this.#state.markDurable(all, holes);
  }

  #run(work: () => Promise<void>): void {
    const running = work()
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }
}
