/**
 * Writes one block. `#taken`: chunks whose bytes are with the kernel; `#durable`: those that a power cut spares; between
 * them lies `#fresh`, which a checkpoint makes durable: sync bytes and digests, then save the bits. Writeback is started
 * early (every EARLY_SYNC_BYTES), so that the last sync has little left to do.
 */
import { chunkCount, chunkLength, PermanentError } from '@openservice/domain';
import { throwIfCancelled } from '../cancel.ts';
import { mapped, writeAt } from '../fs/durable.ts';
import { inFolder } from '../fs/folder-lock.ts';
import { isHole } from '../manifest.ts';
import type { BlockWriter, Prepared, WriteSession } from '../pool.ts';
import { Bitmap } from './bitmap.ts';
import { type BlockPlace, dropAllBut, dropRemoved, placeCommitted } from './block-files.ts';
import { type CommittedDetail, enter, entryOf, fenced, leave, mustOwn } from './claim.ts';
import { closePartFiles, digestOffset, openPartFiles, type PartFiles, pageOf, saveBits } from './part-files.ts';
import { blockFolder, partPaths } from './paths.ts';
import { rootOfDigests } from './root-digest.ts';
import { writeSparse } from './sparse-write.ts';

const EARLY_SYNC_BYTES = 64 * 1024 * 1024;

export interface RawWriterPlace extends BlockPlace {
  /** Key in the table of this process's writers. */
  place: string;
}

/**
 * After the claim. `goesOn`: the parts of this job are its own from before. `begin` makes parts to go on from, where they are not begun
 * empty: false where it cannot, and then there is no writer.
 */
export async function openRawWriter(
  at: RawWriterPlace,
  session: WriteSession,
  goesOn: boolean,
  signal: AbortSignal,
  begin: () => Promise<boolean> = async () => true,
): Promise<BlockWriter | null> {
  const folder = blockFolder(at.root, session.blockId);
  const paths = partPaths(at.root, session.blockId, session.jobId);
  const files = await mapped(() =>
    inFolder(folder, signal, async () => {
      mustOwn(await at.ledger.head(signal), session, ['open']);
      await dropAllBut(at, goesOn ? session.jobId : null);
      return (await begin()) ? openPartFiles(folder, paths, session, signal) : null;
    }),
  );
  return files === null ? null : new RawWriter(at, session, files);
}

class RawWriter implements BlockWriter {
  readonly #at: RawWriterPlace;
  readonly #session: WriteSession;
  readonly #files: PartFiles;
  readonly #count: number;
  readonly #durable: Bitmap;
  readonly #taken: Bitmap;
  #fresh: [first: number, count: number][] = [];
  readonly #underWay = new Set<Promise<unknown>>();
  #checkpoints: Promise<void> = Promise.resolve();
  #unsynced = 0;
  #earlySync: Promise<void> | null = null;
  #broken: unknown = null;
  #ousted = false;
  #closed: Promise<void> | null = null;
  #prepared: Prepared | null = null;
  #committed = false;
  #sent = 0;

  constructor(at: RawWriterPlace, session: WriteSession, files: PartFiles) {
    this.#at = at;
    this.#session = session;
    this.#files = files;
    this.#count = chunkCount(session.size, session.chunkSize);
    this.#durable = files.bits;
    this.#taken = new Bitmap(this.#count, Buffer.from(files.bits.bytes));
    enter(at.place, this);
  }

  get bytesSent(): number {
    return this.#sent;
  }

  has(index: number): boolean {
    return this.#durable.has(index);
  }

  async missing(digests: readonly Buffer[]): Promise<boolean[]> {
    return digests.map((digest) => !isHole(digest));
  }

  put(index: number, digest: Buffer, bytes: Buffer, signal: AbortSignal): Promise<void> {
    return this.#track(async () => {
      throwIfCancelled(signal);
      this.#mustBeOpen();
      this.#mustContain(index, 1);
      if (this.#taken.has(index)) return;
      if (isHole(digest)) return this.hole(index, 1);
      const { blockId, chunkSize, size } = this.#session;
      const chunk = bytes.subarray(0, chunkLength(size, chunkSize, index));
      if (chunk.length < chunkLength(size, chunkSize, index)) {
        throw new PermanentError('chunk_bytes_needed', `Chunk ${index} of block ${blockId} was put without all of its bytes.`);
      }
      const written = await writeSparse(this.#files.data, chunk, index * chunkSize);
      await writeAt(this.#files.digests, digest, digestOffset(index));
      this.#sent += written;
      this.#take(index, 1);
      this.#syncEarly(written);
    });
  }

  hole(first: number, count: number): void {
    this.#mustBeOpen();
    this.#mustContain(first, count);
    this.#take(first, count);
  }

  checkpoint(signal: AbortSignal): Promise<void> {
    const next = this.#checkpoints.catch(() => {}).then(() => this.#track(() => this.#checkpoint(signal)));
    this.#checkpoints = next;
    return next;
  }

  async prepare(signal: AbortSignal): Promise<Prepared> {
    if (this.#prepared !== null) return this.#prepared;
    await this.checkpoint(signal);
    const lacking = this.#durable.firstClear();
    if (lacking < this.#count) {
      throw new PermanentError('incomplete_block', `Block ${this.#session.blockId} lacks chunk ${lacking} of ${this.#count}.`);
    }
    this.#prepared = await this.#track(async () => ({
      rootDigest: await rootOfDigests(this.#session.blockId, this.#files.digests, this.#session, signal),
      storedBytes: await this.#storedBytes(),
    }));
    return this.#prepared;
  }

  async commit(signal: AbortSignal): Promise<void> {
    if (this.#committed) return;
    const { rootDigest, storedBytes } = await this.prepare(signal);
    const { jobId, size, chunkSize, fence } = this.#session;
    const meta = this.#session.meta === undefined ? {} : { meta: this.#session.meta };
    const detail: CommittedDetail = { size, chunkSize, rootDigest: rootDigest.toString('hex'), storedBytes, ...meta };
    await this.#track(async () => {
      this.#mustBeOpen();
      await this.#at.ledger.advance(
        fence,
        (head) => {
          mustOwn(head, this.#session, ['open', 'committed']);
          return head.entry?.state === 'committed' ? null : entryOf(this.#session, 'committed', { ...detail });
        },
        signal,
      );
      // Committed: from here on nothing stops it.
      if (!(await placeCommitted(this.#at, jobId, new AbortController().signal))) throw fenced(this.#session);
      this.#committed = true;
    });
  }

  async abort(signal: AbortSignal): Promise<void> {
    if (this.#committed) return;
    if (this.#ousted) throw fenced(this.#session);
    let committed = false;
    await this.#at.ledger.advance(
      this.#session.fence,
      (head) => {
        mustOwn(head, this.#session, ['open', 'removed', 'committed']);
        committed = head.entry?.state === 'committed';
        return head.entry?.state === 'open' ? entryOf(this.#session, 'removed', {}) : null;
      },
      signal,
    );
    await this.close();
    if (!committed) await dropRemoved(this.#at, signal);
  }

  async oust(): Promise<void> {
    this.#ousted = true;
    await this.#quiet();
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      leave(this.#at.place, this);
      await this.#quiet();
      await mapped(() => closePartFiles(this.#files));
    })();
    return this.#closed;
  }

  async #checkpoint(signal: AbortSignal): Promise<void> {
    throwIfCancelled(signal);
    this.#mustBeOpen();
    mustOwn(await this.#at.ledger.head(signal), this.#session, ['open', 'committed']);
    const fresh = this.#fresh;
    if (fresh.length === 0) return;
    this.#fresh = [];
    try {
      this.#unsynced = 0;
      await Promise.all([this.#files.data.datasync(), this.#files.digests.datasync()]);
      // An early sync under way may be the one that was told of a failed write.
      await this.#earlySync;
      this.#mustBeWhole();
      await this.#save(fresh);
    } catch (error) {
      // The kernel tells a failed write once and then forgets the pages: nothing since the last checkpoint may count.
      this.#broken ??= error;
      throw error;
    }
  }

  async #save(fresh: readonly [number, number][]): Promise<void> {
    const pages = new Set<number>();
    // On a copy first: has() must not answer true before the bits are on the disk.
    const next = new Bitmap(this.#count, Buffer.from(this.#durable.bytes));
    for (const [first, count] of fresh) {
      next.setRange(first, count);
      for (let page = pageOf(first); page <= pageOf(first + count - 1); page++) pages.add(page);
    }
    await saveBits(this.#files, next, pages);
    next.bytes.copy(this.#durable.bytes);
  }

  #take(first: number, count: number): void {
    if (count === 0) return;
    this.#taken.setRange(first, count);
    this.#fresh.push([first, count]);
  }

  #syncEarly(written: number): void {
    this.#unsynced += written;
    if (this.#unsynced < EARLY_SYNC_BYTES || this.#earlySync !== null) return;
    this.#unsynced = 0;
    this.#earlySync = this.#files.data
      .datasync()
      .catch((error: unknown) => {
        this.#broken ??= error;
      })
      .finally(() => {
        this.#earlySync = null;
      });
  }

  async #storedBytes(): Promise<number> {
    const [data, digests] = await Promise.all([this.#files.data.stat(), this.#files.digests.stat()]);
    return (data.blocks + digests.blocks) * 512;
  }

  /** Runs `step`; close and a newer writer wait for it. */
  async #track<T>(step: () => Promise<T>): Promise<T> {
    const run = mapped(step);
    const settled = run.catch(() => {});
    this.#underWay.add(settled);
    try {
      return await run;
    } finally {
      this.#underWay.delete(settled);
    }
  }

  async #quiet(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
    await this.#earlySync;
  }

  #mustBeOpen(): void {
    if (this.#ousted) throw fenced(this.#session);
    if (this.#closed !== null)
      throw new PermanentError('writer_closed', `The writer of block ${this.#session.blockId} is closed.`);
    this.#mustBeWhole();
  }

  #mustBeWhole(): void {
    if (this.#broken !== null) throw this.#broken;
  }

  #mustContain(first: number, count: number): void {
    if (first < 0 || count < 0 || first + count > this.#count) {
      throw new PermanentError(
        'out_of_range',
        `Block ${this.#session.blockId} has ${this.#count} chunks; ${first} + ${count} is past them.`,
      );
    }
  }
}
