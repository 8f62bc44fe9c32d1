/**
 * For how long this center would have heard of every node that is well: its database and NATS were there, it did run itself, and the database's
 * clock went on as clocks do. Only a silence that is shorter than that says something about a node.
 */
import type { DataSource } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';

/** Two looks further apart than this, ms: the center itself stood still. */
const MOST_APART_MS = 20_000;
const MOST_CLOCK_STEP_MS = 5_000;

interface Look {
  /** Monotonic, ms. */
  at: number;
  /** The database's clock, Unix ms. */
  clock: number;
}

export class Hearing {
  readonly #database: DataSource;
  readonly #isUp: () => boolean;
  #since: number | null = null;
  #last: Look | null = null;

  /** `isUp`: whether NATS is there. */
  constructor(database: DataSource, isUp: () => boolean) {
    this.#database = database;
    this.#isUp = isUp;
  }

  /** To be called at each pass. For how long, ms; 0 after anything was away. Rejects while the database is. */
  async look(): Promise<number> {
    const last = this.#last;
    this.#last = null;
    const now = await this.#now();
    this.#last = now;
    if (!this.#isUp() || last === null || !wentOn(last, now)) this.#since = now.at;
    return now.at - (this.#since ?? now.at);
  }

  async #now(): Promise<Look> {
    const [row] = await this.#database.query<{ clock: string | number }[]>(`SELECT UNIX_TIMESTAMP(${NOW}) * 1000 AS clock`);
    return { at: performance.now(), clock: Number(row?.clock) };
  }
}

function wentOn(before: Look, now: Look): boolean {
  const [apart, byClock] = [now.at - before.at, now.clock - before.clock];
  return apart < MOST_APART_MS && Math.abs(byClock - apart) < MOST_CLOCK_STEP_MS;
}
