/**
 * The queues: BullMQ, one a kind. They schedule and they show; the journal alone knows what there is to do. So a job that Redis
 * lost (FLUSHALL, a wiped disk) is added again from the journal, and one that a dead process left "active" is taken back: the
 * journal's lock proves that nobody else runs this node's attempts. For the same reason a lock in Redis that expired (Redis was
 * away) stops no run: whoever starts the attempt again in this process joins the run under way (runner.ts).
 */
import { asOpenServiceError, JOB_KINDS, type JobKind } from '@openservice/domain';
import { QUEUE_PREFIX, queueJobId, queueName } from '@openservice/protocol';
import { Backoff, type Logger, orAborted, sleep } from '@openservice/runtime';
import { type Job, Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { boardOf } from './board.ts';
import type { AttemptKey, AttemptRow, Journal } from './journal/journal.ts';
import { isAtRest } from './journal/wishes.ts';
import type { HandlerTable } from './port.ts';
import type { Runner } from './runner.ts';

const COMPARE_EVERY_MS = 3000;
const LOCK_MS = 30_000;
const KEEP = { count: 1000 };

interface BoardData {
  job_id: string;
  attempt: number;
  kind: string;
  block: string | null;
}

export interface QueuesOptions {
  redisUrl: string;
  nodeId: string;
  journal: Journal;
  runner: Runner;
  handlers: HandlerTable;
  log: Logger;
}

interface Pair {
  queue: Queue<BoardData>;
  worker: Worker<BoardData>;
}

export class Queues {
  readonly #options: QueuesOptions;
  readonly #redis: Redis;
  readonly #pairs = new Map<string, Pair>();
  readonly #stopping = new AbortController();
  /** Seen "active" in Redis without a run here, at the last look: after a second look it is somebody's corpse. */
  #suspects = new Set<string>();
  #loop: Promise<void> = Promise.resolve();
  #compareNow: () => void = () => undefined;
  #lastError = '';

  constructor(options: QueuesOptions) {
    this.#options = options;
    const connection = { maxRetriesPerRequest: null, retryStrategy: (tries: number) => Math.min(1000, tries * 50) };
    this.#redis = new Redis(options.redisUrl, connection);
    this.#redis.on('error', (error) => this.#onError(error));
    for (const kind of JOB_KINDS) this.#pairs.set(kind, this.#makePair(kind));
  }

  /** Takes back what a dead process left, then lets the workers run; both as soon as Redis answers. */
  start(): void {
    this.#loop = this.#run();
  }

  /** Adds a journalled attempt; not awaited by anybody: what is not added is found missing and added later. */
  add(key: AttemptKey): void {
    const row = this.#options.journal.get(key);
    if (row === null || row.state === 'finished' || isAtRest(row)) return;
    this.#add(row).catch((error: unknown) => this.#onError(error));
  }

  /** As `add`, for an attempt that goes on after a pause: what Redis remembers of it from before would be taken for the job itself. */
  addAgain(key: AttemptKey): void {
    const row = this.#options.journal.get(key);
    if (row === null || row.state === 'finished' || isAtRest(row) || this.#options.runner.isRunning(key)) return;
    this.#evict(row)
      .then(() => this.#add(row))
      .catch((error: unknown) => this.#onError(error));
  }

  /** After a run that stopped at a checkpoint: off the queue and the board, unless it was resumed while it stopped. */
  settle(key: AttemptKey): void {
    const row = this.#options.journal.get(key);
    if (row === null) return;
    if (row.state === 'finished' || isAtRest(row)) this.#remove(row).catch((error: unknown) => this.#onError(error));
    else this.#compareNow();
  }

  /** Resolves when Redis answers; waits for it, however long. */
  async ping(): Promise<void> {
    await this.#redis.ping();
  }

  /** Lets go of the queues; runs must have been stopped before. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('The node stops.'));
    const limit = AbortSignal.timeout(2000);
    const closing = Promise.allSettled(
      [...this.#pairs.values()].flatMap(({ queue, worker }) => [worker.close(true), queue.close()]),
    );
    await orAborted(closing, limit).catch(() => undefined);
    this.#redis.disconnect();
    await orAborted(this.#loop, AbortSignal.timeout(1000)).catch(() => undefined);
  }

  #makePair(kind: JobKind): Pair {
    const { nodeId, handlers } = this.#options;
    const name = queueName(nodeId, kind);
    const queue = new Queue<BoardData>(name, {
      connection: this.#redis,
      prefix: QUEUE_PREFIX,
      defaultJobOptions: { attempts: 1, removeOnComplete: KEEP, removeOnFail: KEEP },
    });
    const worker = new Worker<BoardData>(name, (job) => this.#process(job), {
      connection: this.#redis,
      prefix: QUEUE_PREFIX,
      autorun: false,
      concurrency: handlers[kind].concurrency,
      lockDuration: LOCK_MS,
      maxStalledCount: 1_000_000,
      removeOnComplete: KEEP,
      removeOnFail: KEEP,
    });
    // A paused attempt has not ended: its job goes, so that it can be added again.
    worker.on('completed', ({ data }, end) => {
      if (end === 'paused') this.settle({ jobId: data.job_id, attempt: data.attempt });
    });
    queue.on('error', (error) => this.#onError(error));
    worker.on('error', (error) => this.#onError(error));
    worker.on('lockRenewalFailed', (ids) => {
      this.#options.log.warn({ jobs: ids }, 'Redis lost the locks of running jobs; they go on, and are queued again to be seen.');
      this.#compareNow();
    });
    return { queue, worker };
  }

  async #process(job: Job<BoardData>): Promise<string> {
    const end = await this.#options.runner.run({ jobId: job.data.job_id, attempt: job.data.attempt }, boardOf(job));
    if (end.outcome === 'failed') throw end.error;
    // The node stops: the job stays active in Redis, where the next start finds it and takes it back.
    if (end.outcome === 'stopped') return await new Promise<never>(() => undefined);
    return end.outcome;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const backoff = new Backoff({ minMs: 200, maxMs: 3000 });
    let started = false;
    while (!signal.aborted) {
      try {
        await this.#compare(!started);
        if (!started) {
          started = true;
          for (const { worker } of this.#pairs.values()) worker.run().catch((error: unknown) => this.#onError(error));
        }
        backoff.reset();
        await this.#rest();
      } catch (error) {
        if (signal.aborted) return;
        this.#onError(error);
        await sleep(backoff.next(), signal).catch(() => undefined);
      }
    }
  }

  /** Puts every open attempt that neither runs here nor waits in Redis into its queue. `first`: no worker of ours runs yet. */
  async #compare(first: boolean): Promise<void> {
    const suspects = new Set<string>();
    for (const row of this.#options.journal.open()) {
      this.#stopping.signal.throwIfAborted();
      const pair = this.#pairs.get(row.kind);
      if (pair === undefined || this.#options.runner.isRunning(row)) continue;
      if (isAtRest(row)) {
        if (first) await this.#evict(row);
        continue;
      }
      const id = queueJobId(row.jobId, row.attempt);
      const job = await pair.queue.getJob(id);
      if (job === undefined) {
        await this.#add(row);
        continue;
      }
      const state = await job.getState();
      if (state === 'waiting' || state === 'prioritized' || state === 'delayed' || state === 'waiting-children') continue;
      const now = this.#options.journal.get(row);
      if (this.#options.runner.isRunning(row) || now === null || now.state === 'finished' || isAtRest(now)) continue;
      if (state === 'active' && !first && !this.#suspects.has(id)) {
        suspects.add(id);
        continue;
      }
      await this.#evict(row);
      await this.#add(row);
    }
    this.#suspects = suspects;
  }

  async #add(row: AttemptRow): Promise<void> {
    const data: BoardData = { job_id: row.jobId, attempt: row.attempt, kind: row.kind, block: blockOf(row.params) };
    await this.#pairs.get(row.kind)?.queue.add(row.kind, data, {
      jobId: queueJobId(row.jobId, row.attempt),
      priority: row.priority,
    });
  }

  /** Removes also one that a process which was killed left locked: nobody but this process can run it, and it does not. */
  async #evict(row: AttemptRow): Promise<void> {
    const queue = queueName(this.#options.nodeId, row.kind);
    await this.#redis.del(`${QUEUE_PREFIX}:${queue}:${queueJobId(row.jobId, row.attempt)}:lock`);
    await this.#remove(row);
  }

  /** Does nothing to a job that a worker holds: it goes when that has ended. */
  async #remove(row: AttemptRow): Promise<void> {
    await this.#pairs.get(row.kind)?.queue.remove(queueJobId(row.jobId, row.attempt));
  }

  #onError(error: unknown): void {
    if (this.#stopping.signal.aborted) return;
    const { message } = asOpenServiceError(error);
    if (message.includes('Missing key') || message.includes('could not renew lock')) this.#compareNow();
    // Redis away repeats the same words several times a second.
    if (message === this.#lastError) return;
    this.#lastError = message;
    this.#options.log.warn({ why: message }, 'The queue in Redis reported an error; nothing is lost, trying on.');
  }

  async #rest(): Promise<void> {
    const early = new AbortController();
    this.#compareNow = () => early.abort(new Error('compare now'));
    await sleep(COMPARE_EVERY_MS, AbortSignal.any([early.signal, this.#stopping.signal])).catch(() => undefined);
    this.#compareNow = () => undefined;
  }
}

function blockOf(params: unknown): string | null {
  const given = params as { block_id?: string; block?: { id?: string } } | null;
  return given?.block_id ?? given?.block?.id ?? null;
}
