/**
 * Ranges of packs that are being read or were just read. Chunks that follow each other lie near each other in a pack, so that a few
 * large reads serve many chunks; parallel callers share them.
 */
import { MIB } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { orAborted } from '../gate.ts';
import { packKey } from './keys.ts';
import { Rooms } from './rooms.ts';
import type { Place } from './segment.ts';

/** Most bytes of a window, but for a single record that is longer. */
export const WINDOW_BYTES = 2 * MIB;
const KEPT = 8;
const IDLE_MS = 1000;
/** Bytes nobody asked for that a window may hold between two records. */
const MAX_GAP = 256 * 1024;
/** A window of a single record, as a random read makes it, takes less. */
const SMALL_BYTES = 256 * 1024;
/** 48 MiB at most, when much was read just now. */
const rooms = new Rooms([
  [SMALL_BYTES, 64],
  [WINDOW_BYTES, 16],
]);

interface Window {
  pack: string;
  start: number;
  end: number;
  bytes: Promise<Buffer>;
  /** Those who use its bytes, its own reading among them. */
  users: number;
  kept: boolean;
  /** Made for a single record, of no use for the next. */
  once: boolean;
  /** To be used again once it is not kept and nobody uses it. */
  room: Buffer | null;
}

export class Windows {
  readonly #backend: Backend;
  readonly #stop: AbortSignal;
  #kept: Window[] = [];
  #idle: NodeJS.Timeout | null = null;

  constructor(backend: Backend, stop: AbortSignal) {
    this.#backend = backend;
    this.#stop = stop;
  }

  /**
   * Runs `work` with the record at `place`, which is good only until then; `signal` ends the wait for it, not the work. `wanted`: places that
   * will be asked for next; those that lie beside it are fetched with it. None: nothing of it is kept.
   */
  async use<T>(place: Place, wanted: readonly Place[], signal: AbortSignal, work: (record: Buffer) => Promise<T>): Promise<T> {
    const window = this.#window(place, wanted);
    window.users++;
    try {
      const bytes = await orAborted(window.bytes, signal);
      return await work(bytes.subarray(place.offset - window.start, place.offset - window.start + place.length));
    } finally {
      this.#leave(window);
    }
  }

  /** Starts reading what is not being read yet. */
  ensure(place: Place, wanted: readonly Place[]): void {
    this.#window(place, wanted);
  }

  #window(place: Place, wanted: readonly Place[]): Window {
    // A disk that nobody reads for a while keeps nothing here.
    this.#idle = this.#idle?.refresh() ?? setTimeout(() => this.#letGo(), IDLE_MS).unref();
    const end = place.offset + place.length;
    const at = this.#kept.findIndex((kept) => kept.pack === place.pack && kept.start <= place.offset && kept.end >= end);
    if (at >= 0) {
      const [found] = this.#kept.splice(at, 1);
      this.#kept.push(found!);
      return found!;
    }
    const window = this.#fetch(place.pack, spread(place, wanted), wanted.length === 0);
    this.#kept.push(window);
    if (this.#kept.length > KEPT) this.#drop(this.#kept.shift()!);
    return window;
  }

  #fetch(pack: string, { start, end }: { start: number; end: number }, once: boolean): Window {
    const length = end - start;
    const room = rooms.take(length);
    const give = room === null ? undefined : (bytes: number): Buffer => room.subarray(0, bytes);
    const bytes = this.#backend.get(packKey(pack), { offset: start, length }, this.#stop, give);
    const window: Window = { pack, start, end, bytes, users: 1, kept: true, once, room };
    bytes
      .catch(() => {
        this.#kept = this.#kept.filter((kept) => kept !== window);
        window.kept = false;
        window.room = null;
      })
      .finally(() => this.#leave(window));
    return window;
  }

  #leave(window: Window): void {
    window.users--;
    if (window.users === 0 && window.kept && window.once) {
      this.#kept = this.#kept.filter((kept) => kept !== window);
      window.kept = false;
    }
    this.#recycle(window);
  }

  #drop(window: Window): void {
    window.kept = false;
    this.#recycle(window);
  }

  #recycle(window: Window): void {
    if (window.kept || window.users > 0 || window.room === null) return;
    rooms.giveBack(window.room);
    window.room = null;
  }

  #letGo(): void {
    this.#idle = null;
    for (const window of this.#kept.splice(0)) this.#drop(window);
  }
}

/** The range around `place` that takes in neighbours of the same pack, gaps and sum bounded. */
function spread(place: Place, wanted: readonly Place[]): { start: number; end: number } {
  let start = place.offset;
  let end = place.offset + place.length;
  const near = wanted.filter((other) => other.pack === place.pack).sort((a, b) => a.offset - b.offset);
  for (const other of near) {
    if (other.offset < end) continue;
    if (other.offset - end > MAX_GAP || other.offset + other.length - start > WINDOW_BYTES) break;
    end = other.offset + other.length;
  }
  for (const other of near.reverse()) {
    const otherEnd = other.offset + other.length;
    if (otherEnd > start) continue;
    if (start - otherEnd > MAX_GAP || end - other.offset > WINDOW_BYTES) break;
    start = other.offset;
  }
  return { start, end };
}
