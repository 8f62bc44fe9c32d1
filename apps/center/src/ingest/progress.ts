/**
 * Progress from core NATS: the newest of each job is kept in memory and written once a second, all jobs in one statement.
 * Losing some costs nothing.
 */
import { decodeJson, PROG_SUBJECTS, progressMessage } from '@openservice/protocol';
import { type Part, sleep } from '@openservice/runtime';
import { isDatabaseAway } from '@openservice/store';
import type { Subscription } from 'nats';
import type { Plane } from '../plane.ts';
import { type JobProgress, writeProgress } from './job-progress.ts';

const FLUSH_MS = 1_000;
const MOST_JOBS = 10_000;
const ROWS_A_STATEMENT = 200;

export class ProgressSink implements Part {
  readonly name = 'progress';
  readonly #plane: Plane;
  readonly #latest = new Map<string, JobProgress>();
  readonly #stopping = new AbortController();
  #subscription: Subscription | null = null;
  #work: Promise<void> = Promise.resolve();

  constructor(plane: Plane) {
    this.#plane = plane;
  }

  async start(): Promise<void> {
    this.#subscription = this.#plane.nc.subscribe(PROG_SUBJECTS, {
      queue: 'center',
      callback: (error, message) => {
        if (error === null) this.#take(message.subject, message.data);
      },
    });
    this.#work = this.#run();
  }

  async stop(): Promise<void> {
    this.#subscription?.unsubscribe();
    this.#stopping.abort();
    await this.#work;
  }

  #take(subject: string, data: Uint8Array): void {
    try {
      const parsed = progressMessage.safeParse(decodeJson(data));
      if (!parsed.success || parsed.data.node !== subject.split('.')[3]) return;
      const held = this.#latest.get(parsed.data.job_id);
      if (held === undefined && this.#latest.size >= MOST_JOBS) return;
      if (held === undefined || held.attempt <= parsed.data.attempt) this.#latest.set(parsed.data.job_id, parsed.data);
    } catch (error) {
      this.#plane.log.debug({ subject, why: String(error) }, 'Progress that is no JSON was dropped.');
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(FLUSH_MS, signal).catch(() => undefined);
      await this.#flush().catch((error: unknown) => {
        if (!isDatabaseAway(error)) this.#plane.log.warn({ err: error }, 'Progress could not be written.');
      });
    }
  }

  async #flush(): Promise<void> {
    const all = [...this.#latest.values()].sort((a, b) => (a.job_id < b.job_id ? -1 : 1));
    this.#latest.clear();
    for (let i = 0; i < all.length; i += ROWS_A_STATEMENT) {
      await writeProgress(this.#plane.database, all.slice(i, i + ROWS_A_STATEMENT));
    }
  }
}
