/** Why a run ends at a checkpoint though nothing failed and nobody gave it up. */
import { CancelledError } from '@openservice/domain';
import type { Wish } from './journal/journal.ts';

/**
 * The signal's reason of a run that is paused or given back. Final for the run: what it asks of the agent afterwards throws this again, so a
 * handler that swallows it goes nowhere.
 */
export class StoppedAtCheckpoint extends CancelledError {
  readonly wish: Wish;
  constructor(wish: Wish) {
    super(
      wish === 'pause'
        ? 'The job is paused; it goes on from its checkpoint when it is resumed.'
        : 'The node drains; the job goes on from its checkpoint on another.',
    );
    this.wish = wish;
  }
}

export function throwIfStopped(signal: AbortSignal): void {
  if (signal.reason instanceof StoppedAtCheckpoint) throw signal.reason;
}
