/** One bit a chunk: 16 TiB in chunks of 1 MiB take 2 MiB. */
export class Bitmap {
  readonly bytes: Buffer;
  readonly length: number;

  constructor(length: number, bytes: Buffer = Buffer.alloc(Math.ceil(length / 8))) {
    this.length = length;
    this.bytes = bytes;
  }

  has(index: number): boolean {
    return ((this.bytes[index >>> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  set(index: number): void {
    this.bytes[index >>> 3]! |= 1 << (index & 7);
  }

  setRange(first: number, count: number): void {
    let at = first;
    const end = first + count;
    while (at < end && (at & 7) !== 0) this.set(at++);
    const whole = (end - at) >>> 3;
    this.bytes.fill(0xff, at >>> 3, (at >>> 3) + whole);
    at += whole * 8;
    while (at < end) this.set(at++);
  }

  /** The first index whose bit is not set, or `length`. */
  firstClear(): number {
    let byte = 0;
    while (byte < this.bytes.length && this.bytes[byte] === 0xff) byte++;
    let at = byte * 8;
    while (at < this.length && this.has(at)) at++;
    return Math.min(at, this.length);
  }
}
