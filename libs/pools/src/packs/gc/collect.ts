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
/** Condemned lists stay void for this many rounds: who slept through one cannot come back to what it deleted. */
const ROUNDS_KEPT = 16;

export interface CollectParts {
  backend: Backend;
  cacheDir?: string | undefined;
  /** For tests: how to wait, and what to leave out to see that it is missed. */
  wait?: Wait;
  withoutSecondMark?: boolean;
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
    const condemned = this.#snapshot.condemn();
    if (condemned.count > 0) await this.#round(head, condemned);
    // A block that cannot be marked from keeps everything as it is.
    if (this.#report.damaged.length > 0) return this.#ended();
    this.#report.removedObjects += await sweepIndex(this.#backend, this.#snapshot, this.#signal);
    this.#report.removedObjects += await sweepRepairs(this.#backend, this.#snapshot, this.#signal);
    await sweepLeftovers(this.#backend, this.#signal);
    await indexAnew(this.#backend, this.#snapshot, this.#collector, this.#signal);
    return this.#ended();
  }

  async #round(before: GcHead, condemned: NameList): Promise<void> {
    const { jobId } = this.#options;
    const round = before.round + 1;
    const list = condemnedKey(round, this.#collector);
    await this.#backend.put(list, condemned.encode(), this.#signal);
    const published = await this.#step(before, { round, state: 'condemned', jobId, list });
    const limit = this.#options.waitLimit ?? WAIT_LIMIT_MS;
    this.#report.waitingFor = await awaitSessions(this.#backend, round, limit, this.#parts.wait ?? pause, this.#signal);
    if (this.#report.waitingFor.length > 0 || !(await this.#markAgain())) {
      this.#report.keptObjects = condemned.count;
      await this.#step(published, { round, state: 'idle', jobId, list: '' });
      return;
    }
    const { names, bytes } = this.#snapshot.sentence(2);
    const doomed = deletingKey(round, this.#collector);
    await this.#backend.put(doomed, names.encode(), this.#signal);
    const deleting = await this.#step(published, { round, state: 'deleting', jobId, list: doomed });
    await deleteAll(this.#backend, names, this.#signal);
    this.#report.removedObjects += names.count;
    this.#report.freedBytes += bytes;
    await endRound(this.#backend, deleting, jobId, this.#signal);
  }

  /** False where a block could not be marked from. */
  async #mark(pass: number): Promise<boolean> {
    let blocks = 0;
    const onBlock = (): void => this.#options.onProgress?.(++blocks, blocks);
    const unreadable = await new Marker(this.#backend, this.#snapshot, pass, this.#signal).all(onBlock);
    this.#report.damaged.push(...unreadable);
    return unreadable.length === 0;
  }

  async #markAgain(): Promise<boolean> {
    return this.#parts.withoutSecondMark === true || (await this.#mark(2));
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
    // The list goes after the round was ended: somebody else ended it.
    if (!(error instanceof ObjectNotFoundError)) throw error;
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

/** Back to idle; then what was about this round and older ones goes. */
async function endRound(backend: Backend, head: GcHead, jobId: string, signal: AbortSignal): Promise<GcHead> {
  const idle = await gcStep(backend, head, { round: head.round, state: 'idle', jobId, list: '' }, signal);
  if (idle === null) throw underWay();
  const sweep = (prefix: string, upTo: number): Promise<void> =>
    sideBySide(backend.list(prefix, signal), async ({ key }) => {
      if (roundOf(key) <= upTo) await backend.remove(key, signal);
    });
  await sweep(ACKS_PREFIX, head.round);
  await sweep(DELETING_PREFIX, head.round);
  await sweep(CONDEMNED_PREFIX, head.round - ROUNDS_KEPT);
  return idle;
}

function underWay(): TransientError {
  return new TransientError('collection_under_way', 'Another collection of this pool is under way; it is tried again later.');
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => throwIfCancelled(signal));
}
