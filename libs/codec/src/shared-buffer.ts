/** A zeroed Buffer of `bytes` bytes that worker threads see without a copy. Reuse it: nobody pools it for you. */
export function sharedBuffer(bytes: number): Buffer {
  return Buffer.from(new SharedArrayBuffer(bytes));
}

/** True when `buffer` travels to a worker thread by reference. */
export function isShared(buffer: Uint8Array): boolean {
  return buffer.buffer instanceof SharedArrayBuffer;
}
