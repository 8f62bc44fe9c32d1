/** Every minute, in one center at a time: events that are kept no longer go. */
import { Periodic } from '@openservice/runtime';
import { alone, isDatabaseAway } from '@openservice/store';
import type { Plane } from '../plane.ts';
import { type Retention, sweepEvents } from './sweep.ts';

const EVERY_MS = 60_000;

export class EventRetention extends Periodic {
  readonly #plane: Pick<Plane, 'database' | 'log'>;
  readonly #retention: Retention;

  constructor(plane: Pick<Plane, 'database' | 'log'>, retention: Retention) {
    super('event-retention', EVERY_MS);
    this.#plane = plane;
    this.#retention = retention;
  }

  async pass(): Promise<void> {
    const { database } = this.#plane;
    await alone(database, 'event-sweep', async () => {
      await sweepEvents(database, this.#retention, this.stopping);
    });
  }

  protected onError(error: unknown): void {
    if (isDatabaseAway(error)) return;
    this.#plane.log.error({ err: error }, 'Old events could not be removed; it is tried again.');
  }
}
