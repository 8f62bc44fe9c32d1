/** What callers see: any range, cut and widened to what the server takes. */
import { PermanentError } from '@openservice/domain';
import { Connection } from './connection.ts';
import { protocolError } from './errors.ts';
import type { Agreement, Talk } from './handshake.ts';
import type { NbdClient, NbdDisk, NbdExtent, NbdOptions } from './port.ts';
import { COMMAND, STATE_ZERO } from './wire.ts';

const DEFAULT_DEPTH = 16;
const ANSWER_LIMIT = 60_000;
/** Bytes in one WRITE_ZEROES or TRIM: a server that writes zeros itself must be done before the limit for answers. */
const ZERO_STEP = 128 * 1024 * 1024;
/** Bytes in one BLOCK_STATUS. */
const STATUS_STEP = 1024 * 1024 * 1024;
const ZEROS = Buffer.alloc(1024 * 1024);

export class OpenNbdClient implements NbdClient {
  readonly disk: NbdDisk;
  readonly #connection: Connection;

  constructor(talk: Talk, agreement: Agreement, options: NbdOptions) {
    this.disk = agreement.disk;
    this.#connection = new Connection(talk, agreement, {
      depth: options.depth ?? DEFAULT_DEPTH,
      answerLimit: options.answerLimit ?? ANSWER_LIMIT,
    });
  }

  async read(offset: number, target: Buffer, signal: AbortSignal): Promise<void> {
    this.#demandInside(offset, target.length);
    const { start, end } = this.#aligned(offset, target.length);
    if (start === offset && end === offset + target.length) return this.#readAligned(offset, target, signal);
    const wide = Buffer.allocUnsafe(end - start);
    await this.#readAligned(start, wide, signal);
    wide.copy(target, 0, offset - start, offset - start + target.length);
  }

  async write(offset: number, bytes: Buffer, signal: AbortSignal): Promise<void> {
    this.#demandWritable(offset, bytes.length);
    const { start, end } = this.#aligned(offset, bytes.length);
    if (start === offset && end === offset + bytes.length) return this.#writeAligned(offset, bytes, signal);
    // What lies around it in the server's blocks stays: only one caller writes there.
    const wide = Buffer.allocUnsafe(end - start);
    await this.#readAligned(start, wide, signal);
    bytes.copy(wide, offset - start);
    await this.#writeAligned(start, wide, signal);
  }

  async writeZeroes(offset: number, length: number, signal: AbortSignal): Promise<void> {
    this.#demandWritable(offset, length);
    for (const part of this.#zeroable(offset, length)) {
      if (part.whole && this.disk.canWriteZeroes) {
        await this.#connection.ask({ type: COMMAND.writeZeroes, offset: part.offset, length: part.length }, signal);
        continue;
      }
      for (let at = 0; at < part.length; at += ZEROS.length) {
        await this.write(part.offset + at, ZEROS.subarray(0, Math.min(ZEROS.length, part.length - at)), signal);
      }
    }
  }

  async trim(offset: number, length: number, signal: AbortSignal): Promise<void> {
    this.#demandWritable(offset, length);
    if (!this.disk.canTrim) return;
    for (const part of this.#zeroable(offset, length)) {
      if (part.whole) await this.#connection.ask({ type: COMMAND.trim, offset: part.offset, length: part.length }, signal);
    }
  }

  async flush(signal: AbortSignal): Promise<void> {
    if (this.disk.canFlush) await this.#connection.ask({ type: COMMAND.flush, offset: 0, length: 0 }, signal);
  }

  async *extents(offset: number, signal: AbortSignal): AsyncIterable<NbdExtent> {
    const { size, minBlock } = this.disk;
    if (offset >= size) return;
    if (!this.disk.tellsHoles) {
      yield { offset, length: size - offset };
      return;
    }
    for (let at = offset - (offset % minBlock); at < size; ) {
      const length = Math.min(STATUS_STEP, size - at);
      const { status } = await this.#connection.ask({ type: COMMAND.blockStatus, offset: at, length }, signal);
      const before = at;
      for (const [told, flags] of status) {
        const end = Math.min(at + told, size);
        if ((flags & STATE_ZERO) === 0 && end > Math.max(at, offset)) {
          yield { offset: Math.max(at, offset), length: end - Math.max(at, offset) };
        }
        at = end;
      }
      if (at === before) throw protocolError(this.#connection.server, 'it tells of no range when asked for holes');
    }
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async #readAligned(offset: number, target: Buffer, signal: AbortSignal): Promise<void> {
    await Promise.all(
      steps(offset, target.length, this.disk.maxBlock).map((part) => {
        const into = target.subarray(part.offset - offset, part.offset - offset + part.length);
        return this.#connection.ask({ type: COMMAND.read, ...part, target: into }, signal);
      }),
    );
  }

  async #writeAligned(offset: number, bytes: Buffer, signal: AbortSignal): Promise<void> {
    await Promise.all(
      steps(offset, bytes.length, this.disk.maxBlock).map((part) => {
        const payload = bytes.subarray(part.offset - offset, part.offset - offset + part.length);
        return this.#connection.ask({ type: COMMAND.write, ...part, payload }, signal);
      }),
    );
  }

  /** The range in whole blocks of the server's; the export's end counts as one's end. */
  #aligned(offset: number, length: number): { start: number; end: number } {
    const { minBlock, size } = this.disk;
    const over = (offset + length) % minBlock;
    return {
      start: offset - (offset % minBlock),
      end: over === 0 ? offset + length : Math.min(size, offset + length - over + minBlock),
    };
  }

  /** The range in parts: whole blocks, and what is left over at its ends. */
  *#zeroable(offset: number, length: number): Generator<NbdExtent & { whole: boolean }> {
    const { minBlock } = this.disk;
    const end = offset + length;
    const first = Math.min(end, Math.ceil(offset / minBlock) * minBlock);
    const last = Math.max(first, end === this.disk.size ? end : end - (end % minBlock));
    if (first > offset) yield { offset, length: first - offset, whole: false };
    for (const part of steps(first, last - first, ZERO_STEP)) yield { ...part, whole: true };
    if (end > last) yield { offset: last, length: end - last, whole: false };
  }

  #demandWritable(offset: number, length: number): void {
    this.#demandInside(offset, length);
    if (this.disk.readOnly) throw new PermanentError('read_only', `${this.#connection.server} exports the disk read-only.`);
  }

  #demandInside(offset: number, length: number): void {
    if (offset >= 0 && offset + length <= this.disk.size) return;
    throw new PermanentError(
      'out_of_range',
      `${this.#connection.server} has ${this.disk.size} bytes; ${length} from ${offset} on are not all there.`,
    );
  }
}

function steps(offset: number, length: number, most: number): NbdExtent[] {
  const parts: NbdExtent[] = [];
  for (let at = 0; at < length; at += most) parts.push({ offset: offset + at, length: Math.min(most, length - at) });
  return parts;
}
