/** One request on the wire, and what has come of its answer. */
import type { OpenServiceError } from '@openservice/domain';
import { replyError } from './errors.ts';
import { COMMAND, type Command } from './wire.ts';

const VERBS: Record<Command, string> = {
  [COMMAND.read]: 'reading',
  [COMMAND.write]: 'writing',
  [COMMAND.disconnect]: 'ending',
  [COMMAND.flush]: 'flushing',
  [COMMAND.trim]: 'trimming',
  [COMMAND.writeZeroes]: 'zeroing',
  [COMMAND.blockStatus]: 'looking for the holes of',
};

/** Of one answer: pieces that do not follow each other, and ranges of BLOCK_STATUS. A server that sends more means no good. */
const MOST_PIECES = 1024;
const MOST_RANGES = 1 << 20;

export class Request {
  readonly type: Command;
  readonly offset: number;
  readonly length: number;
  readonly done: Promise<void>;
  /** (length, flags) of each range that BLOCK_STATUS told. */
  readonly status: [length: number, flags: number][] = [];
  #target: Buffer | null;
  #filled = 0;
  /** What was filled, start and end. */
  readonly #pieces: [start: number, end: number][] = [];
  #error: { errno: number; message: string } | null = null;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;

  constructor(type: Command, offset: number, length: number, target: Buffer | null) {
    this.type = type;
    this.offset = offset;
    this.length = length;
    this.#target = target;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.done = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** Bytes for `at` of the disk; false when they lie outside of what was asked for, or came before. */
  fill(at: number, bytes: Buffer): boolean {
    if (!this.#take(at, bytes.length)) return false;
    this.#target?.set(bytes, at - this.offset);
    return true;
  }

  zero(at: number, length: number): boolean {
    if (!this.#take(at, length)) return false;
    this.#target?.fill(0, at - this.offset, at - this.offset + length);
    return true;
  }

  /** A range of BLOCK_STATUS; false when there are too many. */
  tell(length: number, flags: number): boolean {
    if (this.status.length === MOST_RANGES) return false;
    this.status.push([length, flags]);
    return true;
  }

  /** Counted twice, bytes would stand for others, in whose place the caller would have whatever its memory held before. */
  #take(at: number, length: number): boolean {
    if (!this.covers(at, length) || this.#pieces.some(([start, end]) => at < end && start < at + length)) return false;
    const last = this.#pieces.at(-1);
    if (last?.[1] === at) last[1] += length;
    else if (this.#pieces.push([at, at + length]) > MOST_PIECES) return false;
    this.#filled += length;
    return true;
  }

  covers(at: number, length: number): boolean {
    return this.type === COMMAND.read && at >= this.offset && at + length <= this.offset + this.length;
  }

  failed(errno: number, message: string): void {
    this.#error ??= { errno, message };
  }

  /** The answer is whole. False when it did not fill what was to be read. */
  end(server: string): boolean {
    if (this.#error !== null) {
      const what =
        this.type === COMMAND.flush ? VERBS[this.type] : `${VERBS[this.type]} ${this.length} bytes from ${this.offset} on`;
      this.#reject(replyError(server, what, this.#error.errno, this.#error.message));
      return true;
    }
    if (this.type === COMMAND.read && this.#filled !== this.length) return false;
    this.#resolve();
    return true;
  }

  /** Whoever asked is told so now; what still comes goes nowhere. */
  abandon(error: unknown): void {
    this.#target = null;
    this.#reject(error);
  }

  lost(error: OpenServiceError): void {
    this.abandon(error);
  }
}
