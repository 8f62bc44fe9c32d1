import { CancelledError } from '@openservice/domain';

/** Throws CancelledError once `signal` has fired. */
export function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new CancelledError('The work was stopped.', { cause: signal.reason });
}
