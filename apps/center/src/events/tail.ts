/**
 * The end of the stream, in each center: gives positions to what has committed, keeps the newest events in memory for whoever follows, and
 * wakes them. MySQL is looked at every half second with one cheap statement, and at once when this center, another (over NATS) or a node's
 * acknowledged event says that something was written; what NATS loses is only late.
 */
import { EVENTS_SUBJECT, nodeRpcSubject } from '@openservice/protocol';
import { type Part, sleep } from '@openservice/runtime';
import { type DataSource, isDatabaseAway } from '@openservice/store';
import type { NatsConnection } from 'nats';
import type { Log } from '../http/deps.ts';
import { type EventFilter, isWanted } from './filter.ts';
import { type Batch, readEvents } from './read.ts';
import { type StreamState, sequence, streamState } from './sequence.ts';
import type { StoredEvent } from './stored-event.ts';
import { watchStates } from './watch.ts';

const LOOK_MS = 500;
/** Pokes that come closer than this share one look. */
const REST_MS = 50;
const WATCH_EVERY_MS = 1_000;
const AFTER_ERROR_MS = 1_000;
/** Events in memory, some KiB each at most. */
const KEPT = 1_000;
const READ_BATCH = 200;

export interface TailOptions {
  database: DataSource;
  log: Pick<Log, 'warn'>;
}

export class EventTail implements Part {
  readonly name = 'events';
  readonly #database: DataSource;
  readonly #log: Pick<Log, 'warn'>;
  readonly #stopping = new AbortController();
  /** The newest events, oldest first; all there are after `#keptAfter`. */
  #kept: StoredEvent[] = [];
  #keptAfter = -1;
  #state: StreamState | null = null;
  #wake = new AbortController();
  #poked = false;
  #nc: NatsConnection | null = null;
  readonly #waiting = new Set<() => void>();
  #watchedAt = Number.NEGATIVE_INFINITY;
  #work: Promise<void> | null = null;

  constructor({ database, log }: TailOptions) {
    this.#database = database;
    this.#log = log;
  }

  /** Fires when the center stops: streams end. */
  get stopped(): AbortSignal {
    return this.#stopping.signal;
  }

  async start(): Promise<void> {
    this.#work ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('The center stops.'));
    this.#wake.abort();
    this.#wakeAll();
    await this.#work;
  }

  /** From now on other centers are told, and tell. */
  follow(nc: NatsConnection): void {
    this.#nc = nc;
    for (const subject of [EVENTS_SUBJECT, nodeRpcSubject('*', 'have')]) nc.subscribe(subject, { callback: () => this.poke() });
  }

  /** Call it after a commit. Costs nothing to call often. */
  poke(): void {
    this.#poked = true;
    this.#wake.abort();
  }

  /** The stream as it was last seen; asked for where nobody has looked yet. Rejects while the database is away. */
  async state(): Promise<StreamState> {
    return this.#state ?? (await streamState(this.#database));
  }

  /** What `filter` wants of the next events after `after`; from memory where that has them all. */
  async read(after: number, filter: EventFilter): Promise<Batch> {
    const { last } = await this.state();
    if (this.#keptAfter >= 0 && after >= this.#keptAfter) {
      const events = this.#kept.filter((event) => event.position > after && isWanted(filter, event)).slice(0, READ_BATCH);
      return { events, upTo: events.length < READ_BATCH ? Math.max(after, last) : events.at(-1)!.position };
    }
    const batch = await readEvents(this.#database, { after, last, limit: READ_BATCH, filter });
    // Asked after the read: what retention took meanwhile must not be passed over in silence.
    const { floor } = await streamState(this.#database);
    return floor > after ? { events: [], upTo: after, goneUpTo: floor } : batch;
  }

  /** Resolves when the stream may have gone on after `after`, or after `ms`. */
  async changed(after: number, ms: number): Promise<void> {
    if (this.#stopping.signal.aborted || (this.#state?.last ?? after) !== after) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
    });
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let failed = false;
    while (!signal.aborted) {
      let pauseMs = LOOK_MS;
      try {
        this.#poked = false;
        await this.pass();
        failed = false;
      } catch (error) {
        pauseMs = AFTER_ERROR_MS;
        if (!failed && !isDatabaseAway(error))
          this.#log.warn({ err: error }, 'The events cannot be followed just now; trying on.');
        failed = true;
      }
      await sleep(REST_MS, signal).catch(() => undefined);
      await this.#pause(pauseMs);
    }
  }

  /** One look. Tests call it by hand. */
  async pass(): Promise<void> {
    if (performance.now() - this.#watchedAt >= WATCH_EVERY_MS) {
      this.#watchedAt = performance.now();
      await watchStates(this.#database);
    }
    let state = await streamState(this.#database);
    let given = 0;
    while (state.waiting && !this.#stopping.signal.aborted) {
      const more = await sequence(this.#database);
      given += more;
      state = await streamState(this.#database);
      // Another center is at it, and tells when it is done.
      if (more === 0) break;
    }
    if (given > 0 && this.#nc !== null && !this.#nc.isClosed()) this.#nc.publish(EVENTS_SUBJECT);
    await this.#take(state);
  }

  async #take(state: StreamState): Promise<void> {
    const before = this.#state;
    if (before !== null && state.last === before.last) {
      this.#state = state;
      return;
    }
    // At the start, and where the stream has gone back (another database): nothing before it is in memory.
    if (before === null || state.last < before.last) {
      this.#kept = [];
      this.#keptAfter = state.last;
    } else await this.#readOn(before.last, state.last);
    this.#state = state;
    this.#wakeAll();
  }

  async #readOn(from: number, last: number): Promise<void> {
    let kept = this.#kept;
    let keptAfter = this.#keptAfter;
    for (let after = from; after < last; ) {
      const { events, upTo } = await readEvents(this.#database, { after, last, limit: READ_BATCH, filter: {} });
      kept = [...kept, ...events];
      after = upTo;
      const surplus = kept.length - KEPT;
      if (surplus <= 0) continue;
      keptAfter = kept[surplus - 1]!.position;
      kept = kept.slice(surplus);
    }
    // Only when all was read: a look that failed half-way begins again where the one before it ended.
    [this.#kept, this.#keptAfter] = [kept, keptAfter];
  }

  #wakeAll(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  async #pause(ms: number): Promise<void> {
    if (this.#poked) return;
    this.#wake = new AbortController();
    if (this.#stopping.signal.aborted) return;
    await sleep(ms, this.#wake.signal).catch(() => undefined);
  }
}
