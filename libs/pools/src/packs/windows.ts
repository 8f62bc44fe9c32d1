/**
 * Ranges of packs that are being read or were just read. Chunks that follow each other lie near each other in a pack, so that a few
 * large reads serve many chunks; parallel callers share them.
 */
import { MIB } from '@openservice/domain';
import type { Backend } from '../backend.ts';
import { packKey } from './keys.ts';
import type { Place } from './segment.ts';

/** Most bytes of a window, but for a single record that is longer. */
export const WINDOW_BYTES = 2 * MIB;
const KEPT = 8;
const IDLE_MS = 1000;
/** Bytes nobody asked for that a window may hold between two records. */
const MAX_GAP = 256 * 1024;

interface Window {
  pack: string;
  start: number;
  end: number;
  bytes: Promise<Buffer>;
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

  /** The record at `place`. `wanted`: places that will be asked for next; those that lie beside it are fetched with it. */
  async read(place: Place, wanted: readonly Place[]): Promise<Buffer> {
    const window = this.ensure(place, wanted);
    const bytes = await window.bytes;
    return bytes.subarray(place.offset - window.start, place.offset - window.start + place.length);
  }

  /** Starts reading what is not being read yet. */
  ensure(place: Place, wanted: readonly Place[]): Window {
    // A disk that nobody reads for a while keeps nothing here.
    this.#idle = this.#idle?.refresh() ?? setTimeout(() => this.#letGo(), IDLE_MS).unref();
    const end = place.offset + place.length;
    const at = this.#kept.findIndex((kept) => kept.pack === place.pack && kept.start <= place.offset && kept.end >= end);
    if (at >= 0) {
      const [found] = this.#kept.splice(at, 1);
      this.#kept.push(found!);
      return found!;
    }
    const range = spread(place, wanted);
    const bytes = this.#backend.get(packKey(place.pack), { offset: range.start, length: range.end - range.start }, this.#stop);
    const window: Window = { pack: place.pack, ...range, bytes };
    bytes.catch(() => {
      this.#kept = this.#kept.filter((kept) => kept !== window);
    });
    this.#kept.push(window);
    if (this.#kept.length > KEPT) this.#kept.shift();
    return window;
  }

  #letGo(): void {
    this.#kept = [];
    this.#idle = null;
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
