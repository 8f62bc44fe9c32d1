/**
 * Collection: frees the packs and segments that nothing refers to, beside writers and other collectors on any node (docs/format.md,
 * Collection, which says why it is safe). One round: snapshot → mark → condemn → wait for the sessions that may not know → mark again →
 * delete. Killed anywhere it leaves only garbage, and the next one ends what it began.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { TransientError } from '@openservice/domain';
import { type Backend, ObjectNotFoundError } from '../../backend.ts';
import { throwIfCancelled } from '../../cancel.ts';
import type { CollectOptions, CollectReport } from '../../pool.ts';
import { isDamaged } from '../checked.ts';
import { packKey, sharedKey } from '../keys.ts';
import { sideBySide } from '../side-by-side.ts';
import { type GcHead, gcHead, gcStep } from './chain.ts';
import { indexAnew, sweepIndex, sweepLeftovers, sweepRepairs } from './heal.ts';
import { ACKS_PREFIX, CONDEMNED_PREFIX, condemnedKey, DELETING_PREFIX, deletingKey, roundOf } from './keys.ts';
import { Marker } from './mark.ts';
import { NameList } from './name-list.ts';
import { awaitSessions, type Wait } from './sessions.ts';
import { Snapshot } from './snapshot.ts';

const WAIT_LIMIT_MS = 60_000;
/** What was deleted stays void for this many rounds: an object that a late write brought back may still be deleted by a collector that slept. */
const ROUNDS_KEPT = 16;
/** Names that one round condemns at most: every session keeps them in memory, 8 bytes each. What is more takes further rounds. */
const MOST_NAMES = 262_144;

export interface CollectParts {
  backend: Backend;
  cacheDir?: string | undefined;
  /** For tests: how to wait, and what to leave out to see that it is missed. */
  wait?: Wait;
  mostNames?: number;
  withoutSecondMark?: boolean;
  withoutWaiting?: boolean;
}

export async function collectPacks(parts: CollectParts, options: CollectOptions, signal: AbortSignal): Promise<CollectReport> {
  throwIfCancelled(signal);
  const { backend } = parts;
  let head = await gcHead(backend, signal);
  if (head.state === 'deleting') head = await finishDeleting(backend, head, options.jobId, signal);
  const snapshot = await Snapshot.take(backend, parts.cacheDir, signal);
  try {
    return await new Collection(parts, options, snapshot, signal).run(head);
  } finally {
    snapshot.close();
  }
}

class Collection {
  readonly #parts: CollectParts;
  readonly #backend: Backend;
  readonly #options: CollectOptions;
  readonly #snapshot: Snapshot;
  readonly #signal: AbortSignal;
  readonly #collector = randomBytes(8).toString('hex');
  readonly #report: CollectReport = {
    removedObjects: 0,
    freedBytes: 0,
    liveBytes: 0,
    keptObjects: 0,
    waitingFor: [],
    damaged: [],
  };

  constructor(parts: CollectParts, options: CollectOptions, snapshot: Snapshot, signal: AbortSignal) {
    this.#parts = parts;
    this.#backend = parts.backend;
    this.#options = options;
    this.#snapshot = snapshot;
    this.#signal = signal;
  }

  async run(head: GcHead): Promise<CollectReport> {
    if (!(await this.#mark(1))) return this.#ended();
    let at: GcHead | null = head;
    for (let pass = 2; at !== null; pass++) {
      const condemned = this.#snapshot.condemn(this.#parts.mostNames ?? MOST_NAMES);
      if (condemned.count === 0) break;
      at = await this.#round(at, condemned, pass);
    }
    // The round of a collector that died, with nothing left to condemn: what it condemned is free to be used again.
    if (at === head && head.state === 'condemned') await endRound(this.#backend, head, this.#options.jobId, this.#signal);
    this.#report.keptObjects = this.#snapshot.kept();
    // A block that cannot be marked from keeps everything as it is.
    if (this.#report.damaged.length > 0) return this.#ended();
    // Records first: packs that only they name are then indexed from their own footers.
    await sweepLeftovers(this.#backend, this.#snapshot, this.#signal);
    this.#report.removedObjects += await sweepIndex(this.#backend, this.#snapshot, this.#signal);
    this.#report.removedObjects += await sweepRepairs(this.#backend, this.#snapshot, this.#signal);
    await indexAnew(this.#backend, this.#snapshot, this.#collector, this.#signal);
    await sweepRounds(this.#backend, this.#signal);
    return this.#ended();
  }

  /** Answers the chain's head; null where what was condemned had to be kept. */
  async #round(before: GcHead, condemned: NameList, pass: number): Promise<GcHead | null> {
    const { jobId } = this.#options;
    const round = before.round + 1;
    const list = condemnedKey(round, this.#collector);
    await this.#backend.put(list, condemned.encode(), this.#signal);
    const published = await this.#step(before, { round, state: 'condemned', jobId, list });
    const limit = this.#options.waitLimit ?? WAIT_LIMIT_MS;
    const { wait = pause, withoutWaiting = false } = this.#parts;
    if (!withoutWaiting) this.#report.waitingFor = await awaitSessions(this.#backend, round, limit, wait, this.#signal);
    if (this.#report.waitingFor.length > 0 || !(await this.#markAgain(pass))) {
      await this.#step(published, { round, state: 'idle', jobId, list: '' });
      return null;
    }
    const { names, bytes } = this.#snapshot.sentence(pass);
    const doomed = deletingKey(round, this.#collector);
    await this.#backend.put(doomed, names.encode(), this.#signal);
    const deleting = await this.#step(published, { round, state: 'deleting', jobId, list: doomed });
    await deleteAll(this.#backend, names, this.#signal);
    this.#report.removedObjects += names.count;
    this.#report.freedBytes += bytes;
    return endRound(this.#backend, deleting, jobId, this.#signal);
  }

  /** False where a block could not be marked from. */
  async #mark(pass: number): Promise<boolean> {
    let blocks = 0;
    const onBlock = (): void => this.#options.onProgress?.(++blocks, blocks);
    const unreadable = await new Marker(this.#backend, this.#snapshot, pass, this.#signal).all(onBlock);
    this.#report.damaged.push(...unreadable);
    return unreadable.length === 0;
  }

  async #markAgain(pass: number): Promise<boolean> {
    return this.#parts.withoutSecondMark === true || (await this.#mark(pass));
  }

  async #step(from: GcHead, next: Omit<GcHead, 'number'>): Promise<GcHead> {
    const made = await gcStep(this.#backend, from, next, this.#signal);
    if (made !== null) return made;
    throw underWay();
  }

  #ended(): CollectReport {
    this.#report.liveBytes = this.#snapshot.liveBytes();
    return this.#report;
  }
}

/** A collector died while it deleted: its list is final, so whoever comes ends it. */
async function finishDeleting(backend: Backend, head: GcHead, jobId: string, signal: AbortSignal): Promise<GcHead> {
  try {
    await deleteAll(backend, NameList.decode(await backend.get(head.list, null, signal), head.list), signal);
  } catch (error) {
    // Without its list the round ends as it is: what it did not delete is garbage that this collection finds again.
    if (!(error instanceof ObjectNotFoundError) && !isDamaged(error)) throw error;
  }
  return endRound(backend, head, jobId, signal);
}

/** Packs and segments alike: the names are all different. */
async function deleteAll(backend: Backend, names: NameList, signal: AbortSignal): Promise<void> {
  function* each(): Generator<Buffer> {
    for (let i = 0; i < names.count; i++) yield names.at(i);
  }
  await sideBySide(each(), async (name) => {
    await backend.remove(packKey(name.toString('hex')), signal);
    await backend.remove(sharedKey(name), signal);
  });
}

/** Back to idle. */
async function endRound(backend: Backend, head: GcHead, jobId: string, signal: AbortSignal): Promise<GcHead> {
  const idle = await gcStep(backend, head, { round: head.round, state: 'idle', jobId, list: '' }, signal);
  if (idle === null) throw underWay();
  return idle;
}

/** What was about rounds that are over. */
async function sweepRounds(backend: Backend, signal: AbortSignal): Promise<void> {
  const head = await gcHead(backend, signal);
  const over = head.state === 'idle' ? head.round : head.round - 1;
  const sweep = (prefix: string, upTo: number): Promise<void> =>
    sideBySide(backend.list(prefix, signal), async ({ key }) => {
      if (roundOf(key) <= upTo) await backend.remove(key, signal);
    });
  await sweep(ACKS_PREFIX, over);
  await sweep(CONDEMNED_PREFIX, over);
  await sweep(DELETING_PREFIX, over - ROUNDS_KEPT);
}

function underWay(): TransientError {
  return new TransientError('collection_under_way', 'Another collection of this pool is under way; it is tried again later.');
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => throwIfCancelled(signal));
}
