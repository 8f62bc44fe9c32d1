/**
 * Ingest: events from JetStream into MySQL. Order of an event's way: commit, tell the node that we have it, ack. Whatever dies
 * in between, the event comes again and the inbox knows it. Events of one job go one after the other, jobs beside each other. What came
 * meanwhile and means that jobs have come further, or have succeeded, goes in one transaction: under load that is most of it.
 */

import { PermanentError } from '@openservice/domain';
import { type Envelope, EVT_DURABLE, EVT_STREAM, isProbe, type JobEvent } from '@openservice/protocol';
import { failpoint, type Part, sleep, tellNode } from '@openservice/runtime';
import { inTransaction, isDatabaseAway } from '@openservice/store';
import type { ConsumerMessages, JsMsg } from 'nats';
import type { Plane } from '../plane.ts';
import { ensureAll } from '../relay/streams.ts';
import { applyEvent } from './apply-event.ts';
import { applyMany, isSimple, type SimpleEvent } from './apply-many.ts';
import { bury } from './dead-letters.ts';
import { envelopeOf, parseEvent } from './parse-event.ts';

const BATCH = 256;
const PULL_MS = 5_000;
const AGAIN_MS = 1_000;
/** An event that fails for a reason of ours is tried this often before it is put aside. */
const MOST_TRIES = 10;

/** A job may have a new attempt, or its node something to be told. */
const WRITES_COMMANDS: ReadonlySet<string> = new Set(['failed', 'yielded', 'paused']);

export interface IngestOptions {
  /** Told after events that may have made new commands. */
  poke(): void;
  /** Told after a job has ended. */
  roomMade(): void;
}

export class Ingest implements Part {
  readonly name = 'ingest';
  readonly #plane: Plane;
  readonly #told: IngestOptions;
  readonly #stopping = new AbortController();
  readonly #jobs = new Map<string, Promise<void>>();
  /** What has come and is not in hand yet. */
  #waiting: JsMsg[] = [];
  #batches: Promise<void> | null = null;
  #pull: ConsumerMessages | null = null;
  #databaseAway = false;
  #work: Promise<void> = Promise.resolve();

  constructor(plane: Plane, told: IngestOptions) {
    this.#plane = plane;
    this.#told = told;
  }

  async start(): Promise<void> {
    this.#work = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('The center stops.'));
    this.#pull?.stop();
    await this.#work;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#waitForDatabase();
        await this.#pullOnce();
      } catch (error) {
        if (signal.aborted) break;
        this.#plane.log.warn({ why: String(error) }, 'Events cannot be pulled just now; trying on.');
        await sleep(AGAIN_MS, signal).catch(() => undefined);
        await ensureAll(this.#plane.nc, this.#plane.database).catch((why: unknown) => {
          this.#plane.log.debug({ why: String(why) }, 'The streams cannot be made just now; the next try makes them.');
        });
      }
    }
    await Promise.all(this.#jobs.values());
  }

  async #waitForDatabase(): Promise<void> {
    while (this.#databaseAway && !this.#stopping.signal.aborted) {
      try {
        await this.#plane.database.query('SELECT 1');
        this.#databaseAway = false;
      } catch (error) {
        this.#plane.log.debug({ why: String(error) }, 'Ingest waits for the database.');
        await sleep(AGAIN_MS, this.#stopping.signal).catch(() => undefined);
      }
    }
  }

  async #pullOnce(): Promise<void> {
    const consumer = await this.#plane.nc.jetstream().consumers.get(EVT_STREAM, EVT_DURABLE);
    if (this.#stopping.signal.aborted) return;
    const startedAt = performance.now();
    let count = 0;
    // A heartbeat of the server shows within seconds that the consumer or the connection went away.
    this.#pull = await consumer.fetch({ max_messages: BATCH, expires: PULL_MS, idle_heartbeat: PULL_MS / 4 });
    try {
      for await (const message of this.#pull) {
        count++;
        this.#waiting.push(message);
        this.#batches ??= this.#takeBatches();
      }
    } finally {
      this.#pull = null;
      await this.#batches;
      await Promise.all(this.#jobs.values());
    }
    const refused = count === 0 && performance.now() - startedAt < PULL_MS / 2;
    if (refused && !this.#stopping.signal.aborted) throw new Error('The server ended the pull early.');
  }

  /** Never rejects. */
  async #takeBatches(): Promise<void> {
    while (this.#waiting.length > 0) {
      // What came in one read of the socket goes together.
      await new Promise(setImmediate);
      await this.#takeBatch(this.#waiting.splice(0));
    }
    this.#batches = null;
  }

  /** In one transaction what can be; the rest, in its order, one by one. */
  async #takeBatch(messages: readonly JsMsg[]): Promise<void> {
    const simple = new Map<SimpleEvent, JsMsg>();
    const behind = new Set<string>();
    const events = messages.map((message) => parseEvent(message.subject, message.data));
    for (const [i, message] of messages.entries()) {
      const event = events[i] ?? '';
      const job = jobOf(message);
      if (typeof event === 'string' || !isSimple(event) || behind.has(job) || this.#jobs.has(job)) behind.add(job);
      else simple.set(event, message);
    }
    const taken = simple.size < 2 ? new Set<JsMsg>() : await this.#applyMany(simple);
    for (const [i, message] of messages.entries()) if (!taken.has(message)) this.#enqueue(message, events[i] ?? '');
  }

  /** Those that are in MySQL, and acknowledged. Never rejects: where it fails, each is tried by itself. */
  async #applyMany(events: ReadonlyMap<SimpleEvent, JsMsg>): Promise<Set<JsMsg>> {
    try {
      const done = await inTransaction(this.#plane.database, (manager) => applyMany(manager, [...events.keys()]));
      await failpoint('center.ingested');
      this.#tellHave(done);
      const messages = done.flatMap((event) => events.get(event) ?? []);
      for (const message of messages) message.ack();
      if (done.some(({ type }) => type === 'succeeded')) this.#told.roomMade();
      return new Set(messages);
    } catch (error) {
      if (!isDatabaseAway(error))
        this.#plane.log.warn({ err: error }, 'Events could not be ingested together; each is tried alone.');
      return new Set();
    }
  }

  #enqueue(message: JsMsg, event: JobEvent | string): void {
    const key = jobOf(message);
    const before = this.#jobs.get(key) ?? Promise.resolve();
    const work = before.then(() => this.#take(message, event));
    this.#jobs.set(key, work);
    void work.then(() => {
      if (this.#jobs.get(key) === work) this.#jobs.delete(key);
    });
  }

  /** `event`, or why it is none. Never rejects: what cannot be taken comes again. */
  async #take(message: JsMsg, event: JobEvent | string): Promise<void> {
    if (isProbe(message.subject)) {
      message.ack();
      return;
    }
    try {
      if (typeof event === 'string') await this.#bury(message, event);
      else await this.#apply(message, event);
    } catch (error) {
      if (isDatabaseAway(error)) {
        this.#databaseAway = true;
        this.#pull?.stop();
        message.nak(AGAIN_MS);
        return;
      }
      this.#plane.log.error({ err: error, subject: message.subject }, 'An event could not be ingested; it comes again.');
      message.nak(AGAIN_MS);
    }
  }

  async #apply(message: JsMsg, event: JobEvent): Promise<void> {
    try {
      const outcome = await inTransaction(this.#plane.database, (manager) => applyEvent(manager, event));
      this.#plane.log.debug(
        { job_id: event.job_id, attempt: event.attempt, seq: event.seq, type: event.type, outcome },
        'Event.',
      );
    } catch (error) {
      if (error instanceof PermanentError) return this.#bury(message, error.message);
      if (!isDatabaseAway(error) && message.info.redeliveryCount >= MOST_TRIES) return this.#bury(message, String(error));
      throw error;
    }
    await failpoint('center.ingested');
    this.#tellHave([event]);
    message.ack();
    if (WRITES_COMMANDS.has(event.type)) this.#told.poke();
    else if (event.type === 'succeeded' || event.type === 'cancelled') this.#told.roomMade();
  }

  async #bury(message: JsMsg, reason: string): Promise<void> {
    this.#plane.log.error({ subject: message.subject, reason }, 'A message that cannot be used was put aside (dead_letters).');
    await bury(this.#plane.database, message.subject, reason, message.data);
    // The node must not keep what no center will ever take.
    const known = envelopeOf(message.data);
    if (known !== null && known.node === message.subject.split('.')[3]) this.#tellHave([known]);
    message.term();
  }

  #tellHave(events: readonly Pick<Envelope, 'node' | 'job_id' | 'attempt' | 'seq'>[]): void {
    for (const node of new Set(events.map((event) => event.node))) {
      const had = events.filter((event) => event.node === node).map(({ job_id, attempt, seq }) => ({ job_id, attempt, seq }));
      tellNode(this.#plane.nc, node, 'have', { events: had });
    }
  }
}

const jobOf = (message: JsMsg): string => message.subject.split('.')[4] ?? '';
