/** Reconcile: every 5 s, in one center at a time, looks for nodes that fell silent, jobs past their deadline, and what is to go. */
import { Periodic } from '@openservice/runtime';
import { type DataSource, isDatabaseAway } from '@openservice/store';
import type { NodeCalls } from '../http/deps.ts';
import type { Plane } from '../plane.ts';
import { dropAbandoned } from './abandoned-content.ts';
import { actOnOverdue } from './overdue.ts';
import { markPresence } from './presence.ts';
import { sweep } from './sweep.ts';
import { giveUpContent, purgeTrash, removeLeftovers } from './trash.ts';

const EVERY_MS = 5_000;
const SWEEP_EVERY = 12;

export interface ReconcileOptions {
  /** Told after commands were written. */
  poke(): void;
  nodes: NodeCalls;
}

export class Reconcile extends Periodic {
  readonly #plane: Pick<Plane, 'database' | 'log'>;
  readonly #others: ReconcileOptions;
  #passes = 0;

  constructor(plane: Pick<Plane, 'database' | 'log'>, others: ReconcileOptions) {
    super('reconcile', EVERY_MS);
    this.#plane = plane;
    this.#others = others;
  }

  async pass(): Promise<void> {
    const { database } = this.#plane;
    const { poke } = this.#others;
    await alone(database, async () => {
      await markPresence(database);
      if (await actOnOverdue(database)) poke();
      if (await removeLeftovers(database)) poke();
      if (await purgeTrash(database)) poke();
      await giveUpContent(database);
      await dropAbandoned({ ...this.#plane, ...this.#others });
      if (this.#passes++ % SWEEP_EVERY === 0) await sweep(database);
    });
  }

  protected onError(error: unknown): void {
    if (isDatabaseAway(error)) this.#plane.log.debug({ why: String(error) }, 'Reconcile waits for the database.');
    else this.#plane.log.error({ err: error }, 'Reconcile failed; it tries again.');
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
