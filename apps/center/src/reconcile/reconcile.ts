/** Reconcile: every 5 s, in one center at a time, looks for nodes that fell silent, jobs past their deadline, and what is to go. */
import { Periodic } from '@openservice/runtime';
import { alone, isDatabaseAway } from '@openservice/store';
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
    await alone(database, 'reconcile', async () => {
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
