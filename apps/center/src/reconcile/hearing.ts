/**
 * For how long this center would have heard of every node that is well: its database and NATS were there, it did run itself, and the database's
 * clock went on as clocks do. Only a silence that is shorter than that says something about a node.
 */
import { Periodic } from '@openservice/runtime';
import type { DataSource } from '@openservice/store';
import { NOW } from '../jobs/clock.ts';

interface Look {
  /** Monotonic, ms. */
  at: number;
  /** The database's clock, Unix ms. */
  clock: number;
}

export class Hearing extends Periodic {
  readonly #database: DataSource;
  readonly #isUp: () => boolean;
  /** Two looks further apart than this, or a clock that went on so much more or less: something stood still, or jumped. */
  readonly #mostMs: number;
  #since = 0;
  #last: Look | null = null;

  /** `isUp`: whether NATS is there. `offlineMs`: how long a node may be silent. */
  constructor(database: DataSource, isUp: () => boolean, offlineMs: number) {
    super('hearing', offlineMs / 12);
    this.#database = database;
    this.#isUp = isUp;
    this.#mostMs = offlineMs / 2;
  }

  /** Ms; 0 after anything was away, and before the first look. */
  get heardMs(): number {
    return this.#last === null ? 0 : this.#last.at - this.#since;
  }

  async pass(): Promise<void> {
    const last = this.#last;
    this.#last = null;
    const [row] = await this.#database.query<{ clock: string | number }[]>(`SELECT UNIX_TIMESTAMP(${NOW}) * 1000 AS clock`);
    const now = { at: performance.now(), clock: Number(row?.clock) };
    if (last === null || !this.#isUp() || !this.#wentOn(last, now)) this.#since = now.at;
    this.#last = now;
  }

  protected onError(): void {
    // The database is away, which whoever uses it says. The next look begins anew.
  }

  #wentOn(before: Look, now: Look): boolean {
    const [apart, byClock] = [now.at - before.at, now.clock - before.clock];
    return apart < this.#mostMs && Math.abs(byClock - apart) < this.#mostMs;
  }
}
