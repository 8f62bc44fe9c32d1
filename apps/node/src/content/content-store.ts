/**
 * What clients upload for blocks that are not imported yet: one sparse file a block, received in pieces. A byte counts once it is on
 * stable storage and the state beside the file says so; what lies past that offset is of a piece that was cut off, and is cut away.
 *
 * `<block>.content`: the bytes. `<block>.state`: JSON `{"v":1,"total":…,"offset":…}`, in bytes, replaced as a whole.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asOpenServiceError, CancelledError, MAX_BLOCK_SIZE, MIB, PermanentError, TransientError } from '@openservice/domain';
import { SparseAppender } from './sparse-appender.ts';

/** Received since the offset was last made durable. */
const DURABLE_EVERY = 64 * MIB;
const BLOCK_ID = /^[a-z0-9][a-z0-9_-]{0,126}$/;

export interface ContentRange {
  /** Where the piece begins: must be the present durable offset. */
  offset: number;
  /** Bytes of the whole content; the first piece fixes it. */
  total: number;
}

interface State {
  total: number;
  offset: number;
}

/** A piece does not begin where the content ends so far. */
export class ContentOffsetError extends PermanentError {
  /** Where to go on, in bytes. */
  readonly offset: number;

  constructor(blockId: string, given: number, offset: number) {
    super(
      'content_offset_mismatch',
      `The content of block ${blockId} is there up to byte ${offset}; the piece begins at ${given}. Go on from ${offset}.`,
    );
    this.offset = offset;
  }
}

export class ContentStore {
  readonly #dir: string;
  readonly #busy = new Set<string>();

  /** `dir` is made when it is first needed. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Bytes that are safely here; 0 for a block of which nothing is. */
  async offset(blockId: string): Promise<number> {
    return mapped(async () => (await this.#state(blockId))?.offset ?? 0);
  }

  /**
   * Takes a piece and answers the new durable offset. A piece that breaks off counts as far as it came: its error is thrown after that was
   * made durable. ContentOffsetError; PermanentError `content_range_invalid`, `content_total_mismatch`, `no_space`; TransientError
   * `content_busy` while another piece of this block is received.
   */
  async append(blockId: string, range: ContentRange, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number> {
    return this.#alone(blockId, () => mapped(() => this.#append(blockId, range, bytes, signal)));
  }

  /** The whole content, for reading; the caller closes the handle. PermanentError `content_not_found`, `content_incomplete`. */
  async open(blockId: string): Promise<{ handle: FileHandle; path: string; size: number }> {
    return mapped(async () => {
      const state = await this.#state(blockId);
      if (state === null) throw new PermanentError('content_not_found', `Nothing was uploaded for block ${blockId}.`);
      if (state.offset < state.total) {
        throw new PermanentError(
          'content_incomplete',
          `Of the content of block ${blockId} only ${state.offset} of ${state.total} bytes are here; send the rest first.`,
        );
      }
      const path = this.#path(blockId, 'content');
      return { handle: await open(path, constants.O_RDONLY | constants.O_NOFOLLOW), path, size: state.total };
    });
  }

  /** Nothing there: no error. TransientError `content_busy` while a piece is received. */
  async drop(blockId: string): Promise<void> {
    await this.#alone(blockId, () =>
      mapped(async () => {
        // The state goes last but one: without it the bytes count for nothing.
        await rm(this.#path(blockId, 'state'), { force: true });
        await rm(this.#path(blockId, 'content'), { force: true });
        await this.#syncDirectory();
      }),
    );
  }

  async #append(blockId: string, { offset, total }: ContentRange, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal) {
    if (![offset, total].every((n) => Number.isSafeInteger(n) && n >= 0) || offset > total || total > MAX_BLOCK_SIZE) {
      throw new PermanentError('content_range_invalid', `A piece from byte ${offset} of ${total} cannot be.`);
    }
    await mkdir(this.#dir, { recursive: true });
    const state = (await this.#state(blockId)) ?? { total, offset: 0 };
    if (state.total !== total) {
      throw new PermanentError(
        'content_total_mismatch',
        `The content of block ${blockId} was begun as ${state.total} bytes, and is now said to have ${total}.`,
      );
    }
    if (state.offset !== offset) throw new ContentOffsetError(blockId, offset, state.offset);
    const handle = await open(this.#path(blockId, 'content'), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    try {
      await handle.truncate(offset);
      return await this.#receive(blockId, new SparseAppender(handle, offset), total, bytes, signal);
    } finally {
      await handle.close();
    }
  }

  async #receive(
    blockId: string,
    file: SparseAppender,
    total: number,
    bytes: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<number> {
    let durable = file.offset;
    try {
      for await (const part of bytes) {
        if (signal.aborted) throw new CancelledError('The upload was stopped.', { cause: signal.reason });
        if (file.offset + part.byteLength > total) {
          throw new PermanentError('content_range_invalid', `More was sent for block ${blockId} than the ${total} bytes it has.`);
        }
        await file.append(part);
        if (file.offset - durable >= DURABLE_EVERY) durable = await this.#settle(blockId, file, total);
      }
    } catch (error) {
      // What came before the break counts; a disk that refuses that too has its own error told instead.
      if (!isDiskError(error)) await this.#settle(blockId, file, total);
      throw error;
    }
    return this.#settle(blockId, file, total);
  }

  /** Bytes first, then the offset that vouches for them. */
  async #settle(blockId: string, file: SparseAppender, total: number): Promise<number> {
    await file.sync();
    const path = this.#path(blockId, 'state');
    const next = await open(`${path}.next`, 'w', 0o600);
    try {
      await next.writeFile(`${JSON.stringify({ v: 1, total, offset: file.offset })}\n`);
      await next.sync();
    } finally {
      await next.close();
    }
    await rename(`${path}.next`, path);
    await this.#syncDirectory();
    return file.offset;
  }

  async #state(blockId: string): Promise<State | null> {
    const path = this.#path(blockId, 'state');
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
    try {
      const { v, total, offset } = JSON.parse(text) as Partial<State> & { v?: unknown };
      if (v === 1 && Number.isSafeInteger(total) && Number.isSafeInteger(offset)) return { total: total!, offset: offset! };
    } catch {
      // Said below, with the way out.
    }
    throw new PermanentError('content_damaged', `${path} is damaged; delete the block and upload it again.`);
  }

  async #alone<T>(blockId: string, step: () => Promise<T>): Promise<T> {
    if (this.#busy.has(blockId)) {
      throw new TransientError(
        'content_busy',
        `Another piece of the content of block ${blockId} is being received; wait for it.`,
      );
    }
    this.#busy.add(blockId);
    try {
      return await step();
    } finally {
      this.#busy.delete(blockId);
    }
  }

  async #syncDirectory(): Promise<void> {
    let handle: FileHandle;
    try {
      handle = await open(this.#dir, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  #path(blockId: string, what: 'content' | 'state'): string {
    if (!BLOCK_ID.test(blockId)) throw new PermanentError('invalid_block', 'That is no id of a block.');
    return join(this.#dir, `${blockId}.${what}`);
  }
}

function isDiskError(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS'].includes(String((error as NodeJS.ErrnoException).code));
}

async function mapped<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw asOpenServiceError(error);
  }
}
