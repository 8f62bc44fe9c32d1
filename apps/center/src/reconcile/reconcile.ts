/** Reconcile: every 5 s, in one center at a time, looks for nodes that fell silent, jobs past their deadline, and what is to go. */
import { Periodic } from '@openservice/runtime';
import { alone, isDatabaseAway } from '@openservice/store';
import type { NodeCalls } from '../http/deps.ts';
import { type Plane, timesOf } from '../plane.ts';
import { dropAbandoned } from './abandoned-content.ts';
import { afterSetBack } from './clock-steps.ts';
import { Drains } from './drain.ts';
import { Hearing } from './hearing.ts';
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
  /** Whether NATS is there. Left out: it is, and always was. */
  isUp?: () => boolean;
}

export class Reconcile extends Periodic {
  readonly #plane: Pick<Plane, 'database' | 'log' | 'times'>;
  readonly #others: ReconcileOptions;
  readonly #drains: Drains;
  readonly #hearing: Hearing | null;
  #passes = 0;

  constructor(plane: Pick<Plane, 'database' | 'log' | 'times'>, others: ReconcileOptions) {
    super('reconcile', Math.min(EVERY_MS, timesOf(plane).offlineMs / 4));
    this.#plane = plane;
    this.#others = others;
    this.#drains = new Drains(plane.database);
    this.#hearing = others.isUp === undefined ? null : new Hearing(plane.database, others.isUp, timesOf(plane).offlineMs);
  }

  override async start(): Promise<void> {
    await this.#hearing?.start();
    await super.start();
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.#hearing?.stop();
  }

  async pass(): Promise<void> {
    const { database } = this.#plane;
    const { poke } = this.#others;
    const times = timesOf(this.#plane);
    const wasHeard = this.#hearing === null || this.#hearing.heardMs >= times.offlineMs;
    await alone(database, 'reconcile', async () => {
      await markPresence(database, wasHeard, times);
      if (await actOnOverdue(database, { wasHeard, times })) poke();
      if (await this.#drains.pass()) poke();
      if (await removeLeftovers(database)) poke();
      if (await purgeTrash(database)) poke();
      await giveUpContent(database);
      await dropAbandoned({ ...this.#plane, ...this.#others });
      if (this.#passes++ % SWEEP_EVERY !== 0) return;
      await afterSetBack(database);
      await sweep(database);
    });
  }

  protected onError(error: unknown): void {
    if (isDatabaseAway(error)) this.#plane.log.debug({ why: String(error) }, 'Reconcile waits for the database.');
    else this.#plane.log.error({ err: error }, 'Reconcile failed; it tries again.');
  }
}
