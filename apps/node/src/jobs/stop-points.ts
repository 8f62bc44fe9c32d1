/** For work that has no checkpoints of its own: places where it can be paused, or given back. */
import type { JobContext } from '@openservice/agent';

const EVERY_MS = 4000;

/**
 * Runs `work` and checkpoints `state()` every few seconds meanwhile. What was not checkpointed when the job stops there is done again when it goes
 * on. One that cannot be journalled is only logged: the next one may be, and nothing relies on it.
 */
export async function withStopPoints<T>(
  context: Pick<JobContext<unknown>, 'checkpoint' | 'signal' | 'log'>,
  state: () => unknown,
  work: () => Promise<T>,
  everyMs = EVERY_MS,
): Promise<T> {
  let running: Promise<void> | null = null;
  const timer = setInterval(() => {
    running ??= context
      .checkpoint(state())
      .catch((error: unknown) => {
        // The signal has fired then, and ends the work.
        if (!context.signal.aborted) context.log('a checkpoint could not be made', { why: String(error) });
      })
      .finally(() => {
        running = null;
      });
  }, everyMs);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await running;
  }
}
