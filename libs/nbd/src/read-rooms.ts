/**
 * Memory for large reads, for all disks and connections: shared with worker threads, so that a store that decodes there puts the bytes where
 * they are wanted. It is used again: V8 does not see how much shared memory is garbage, and would let it pile up.
 */

/** Smaller reads are not worth it. */
const SMALLEST = 64 * 1024;
/** Beside the data of a power of two, which clients ask for: the reply's head. */
const HEAD_ROOM = 64;
const MOST_FREE_BYTES = 32 * 1024 * 1024;
const IDLE_MS = 10_000;

const free = new Map<number, Buffer[]>();
let freeBytes = 0;
let idle: NodeJS.Timeout | null = null;

/** Exactly `bytes` long, with anything in it. `giveBackRoom` takes it back; one that is never given back is garbage. */
export function sharedRoom(bytes: number): Buffer {
  if (bytes < SMALLEST) return Buffer.allocUnsafeSlow(bytes);
  idle = idle?.refresh() ?? setTimeout(letGo, IDLE_MS).unref();
  const size = 2 ** Math.ceil(Math.log2(bytes - HEAD_ROOM)) + HEAD_ROOM;
  const room = free.get(size)?.pop();
  if (room !== undefined) freeBytes -= size;
  return (room ?? Buffer.from(new SharedArrayBuffer(size))).subarray(0, bytes);
}

/** Nothing may touch it any more. Any other buffer is left alone. */
export function giveBackRoom({ buffer }: Buffer): void {
  if (!(buffer instanceof SharedArrayBuffer) || idle === null) return;
  if (freeBytes + buffer.byteLength > MOST_FREE_BYTES) return;
  freeBytes += buffer.byteLength;
  const rooms = free.get(buffer.byteLength) ?? [];
  rooms.push(Buffer.from(buffer));
  free.set(buffer.byteLength, rooms);
}

function letGo(): void {
  idle = null;
  free.clear();
  freeBytes = 0;
}
