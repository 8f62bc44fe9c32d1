/**
 * The ledger of a block in a pool: who may write it, and whether it is there. It is the pool's own fence, which no lock
 * and no message can replace: each change is a new object `<prefix>/<8 digits>` made with putIfAbsent, so of two writers
 * that saw the same last entry only one gets the next number, and the other must look again and finds itself outrun.
 *
 * The last entry is the state. Entries before it carry nothing and are swept by whoever adds one, the last but one kept.
 */
import { FencedError, PermanentError } from '@openservice/domain';
import type { Backend } from './backend.ts';

export interface LedgerEntry {
  /** `open`: being written; `committed`: there; `trashed`: kept, but not visible; `removed`: gone, but the fence stands. */
  state: 'open' | 'committed' | 'trashed' | 'removed';
  fence: number;
  jobId: string;
  attempt: number;
  /** What the layout needs to find the block again; fixed by the layout. */
  detail: Record<string, unknown>;
}

export interface LedgerHead {
  /** 0: nothing was ever written. */
  number: number;
  entry: LedgerEntry | null;
}

const MAX_TRIES = 16;

export class Ledger {
  readonly #backend: Backend;
  readonly #prefix: string;

  constructor(backend: Backend, prefix: string) {
    this.#backend = backend;
    this.#prefix = prefix;
  }

  async head(signal: AbortSignal): Promise<LedgerHead> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      let last: string | null = null;
      for await (const { key } of this.#backend.list(`${this.#prefix}/`, signal)) {
        if (/^\d{8}$/.test(key.slice(this.#prefix.length + 1))) last = key;
      }
      if (last === null) return { number: 0, entry: null };
      try {
        const bytes = await this.#backend.get(last, null, signal);
        return { number: Number(last.slice(-8)), entry: parseEntry(bytes, last) };
      } catch (error) {
        // Swept between the two calls because a newer entry was added: look again.
        if (!(error instanceof PermanentError) || error.code !== 'object_not_found') throw error;
      }
    }
    throw new PermanentError('damaged_ledger', `The ledger ${this.#prefix} names entries that cannot be read.`);
  }

  /**
   * Adds the entry that `next` makes of the present head; `next` may throw, or answer null for "nothing to add".
   * It is called again after a lost race. The fence is checked here: FencedError when the head's is higher.
   */
  async advance(
    fence: number,
    next: (head: LedgerHead) => LedgerEntry | null,
    signal: AbortSignal,
  ): Promise<{ before: LedgerHead; after: LedgerHead }> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const before = await this.head(signal);
      if (before.entry !== null && before.entry.fence > fence) {
        throw new FencedError(
          `Attempt with fence ${fence} came too late: job ${before.entry.jobId}, attempt ${before.entry.attempt}, owns ${this.#prefix} with fence ${before.entry.fence}.`,
        );
      }
      const entry = next(before);
      if (entry === null) return { before, after: before };
      const number = before.number + 1;
      const bytes = Buffer.from(`${JSON.stringify(entry)}\n`);
      if (await this.#backend.putIfAbsent(this.#key(number), bytes, signal)) {
        if (await this.#settle(number, signal)) return { before, after: { number, entry } };
      }
    }
    throw new PermanentError('contended', `Other writers changed the ledger ${this.#prefix} each time this one tried.`);
  }

  #key(number: number): string {
    return `${this.#prefix}/${String(number).padStart(8, '0')}`;
  }

  /**
   * True when entry `number` is the last. A writer that slept may have re-made a number that was swept meanwhile: entries after
   * it tell, and then it has lost. Sweeps what lies before; a crash leaves an older entry, which the next sweep takes.
   */
  async #settle(number: number, signal: AbortSignal): Promise<boolean> {
    const doomed: string[] = [];
    let last = '';
    for await (const { key } of this.#backend.list(`${this.#prefix}/`, signal)) {
      if (key < this.#key(number - 1)) doomed.push(key);
      last = key;
    }
    if (last > this.#key(number)) return false;
    for (const key of doomed) await this.#backend.remove(key, signal);
    return true;
  }
}

const STATES: readonly unknown[] = ['open', 'committed', 'trashed', 'removed'] satisfies LedgerEntry['state'][];

/** An entry that is not whole is never taken for "not there": whoever believed that would sweep the block's data. */
function parseEntry(bytes: Buffer, key: string): LedgerEntry {
  let entry: Partial<LedgerEntry> | null;
  try {
    entry = JSON.parse(bytes.toString('utf8')) as Partial<LedgerEntry> | null;
  } catch (cause) {
    throw new PermanentError('damaged_ledger', `Ledger entry ${key} is not JSON; it is damaged.`, { cause });
  }
  const whole =
    typeof entry === 'object' &&
    entry !== null &&
    STATES.includes(entry.state) &&
    Number.isSafeInteger(entry.fence) &&
    typeof entry.jobId === 'string' &&
    Number.isSafeInteger(entry.attempt) &&
    typeof entry.detail === 'object' &&
    entry.detail !== null;
  if (!whole) throw new PermanentError('damaged_ledger', `Ledger entry ${key} lacks its state or fence; it is damaged.`);
  return entry as LedgerEntry;
}
