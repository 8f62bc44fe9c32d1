/** Reconcile: every 5 s, in one center at a time, looks for nodes that fell silent and jobs past their deadline. */
import { type Part, sleep } from '@openservice/runtime';
import { type DataSource, isDatabaseAway } from '@openservice/store';
import type { Plane } from '../plane.ts';
import { actOnOverdue } from './overdue.ts';
import { markPresence } from './presence.ts';
import { sweep } from './sweep.ts';

const EVERY_MS = 5_000;
const SWEEP_EVERY = 12;

export class Reconcile implements Part {
  readonly name = 'reconcile';
  readonly #plane: Pick<Plane, 'database' | 'log'>;
  readonly #poke: () => void;
  readonly #stopping = new AbortController();
  #passes = 0;
  #work: Promise<void> = Promise.resolve();

  constructor(plane: Pick<Plane, 'database' | 'log'>, poke: () => void) {
    this.#plane = plane;
    this.#poke = poke;
  }

  async start(): Promise<void> {
    this.#work = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#work;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(EVERY_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await alone(this.#plane.database, () => this.pass());
      } catch (error) {
        if (isDatabaseAway(error)) this.#plane.log.debug({ why: String(error) }, 'Reconcile waits for the database.');
        else this.#plane.log.error({ err: error }, 'Reconcile failed; it tries again.');
      }
    }
  }

  /** One look. Tests call it by hand. */
  async pass(): Promise<void> {
    await markPresence(this.#plane.database);
    if (await actOnOverdue(this.#plane.database)) this.#poke();
    if (this.#passes++ % SWEEP_EVERY === 0) await sweep(this.#plane.database);
  }
}

/** Runs `work` unless another center is at it. The lock is the connection's and goes with it. */
async function alone(database: DataSource, work: () => Promise<void>): Promise<void> {
  const runner = database.createQueryRunner();
  try {
    const name = "CONCAT('reconcile.', LEFT(DATABASE(), 50))";
    const [row] = (await runner.query(`SELECT GET_LOCK(${name}, 0) AS taken`)) as [{ taken: number | string | null }];
    if (Number(row.taken) !== 1) return;
    try {
      await work();
    } finally {
      await runner.query(`SELECT RELEASE_LOCK(${name})`);
    }
  } finally {
    await runner.release();
  }
}
