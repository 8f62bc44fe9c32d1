/**
 * Start and stop of a process. Parts start in order and stop in the reverse; SIGTERM and SIGINT stop, a second one ends at
 * once. A part that does not stop in its time is left behind and said so.
 */
import type { Logger } from './log.ts';

export interface Part {
  readonly name: string;
  /** Rejects when it cannot start; `signal` fires when the process is to stop meanwhile. */
  start(signal: AbortSignal): Promise<void>;
  /** May be called though start failed, and twice. */
  stop(): Promise<void>;
}

export interface RunOptions {
  log: Logger;
  /** Most time for one part to stop, ms. Default 10 s. */
  stopLimitMs?: number;
  /** Default: process.exit. */
  exit?: (code: number) => void;
}

/** Runs until a signal comes, then exits 0; exits 1 when a part cannot start or something unexpected is thrown. */
export async function runProcess(parts: readonly Part[], options: RunOptions): Promise<void> {
  const { log, stopLimitMs = 10_000, exit = (code) => process.exit(code) } = options;
  const stopping = new AbortController();
  let code = 0;
  let asked = 0;
  const stop = (why: string): void => {
    if (++asked > 1) {
      log.warn({ why }, 'Asked again to stop: ending at once.');
      exit(code || 130);
      return;
    }
    log.info({ why }, 'Stopping.');
    stopping.abort(new Error(`The process stops: ${why}.`));
  };
  const onSignal = (signal: NodeJS.Signals): void => stop(signal);
  // The state after an error that nobody caught is unknown; all that matters is journalled, so a restart is the safe answer.
  const onFatal = (error: unknown): void => {
    log.fatal({ err: error }, 'An error that nothing handled: the process ends.');
    code = 1;
    stop('unhandled error');
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  process.on('uncaughtException', onFatal);
  process.on('unhandledRejection', onFatal);

  const started: Part[] = [];
  try {
    for (const part of parts) {
      stopping.signal.throwIfAborted();
      started.push(part);
      await part.start(stopping.signal);
      log.debug({ part: part.name }, 'Started.');
    }
    await new Promise<void>((resolve) => {
      if (stopping.signal.aborted) resolve();
      else stopping.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  } catch (error) {
    if (!stopping.signal.aborted) {
      log.fatal({ err: error }, error instanceof Error ? error.message : 'A part could not start.');
      code = 1;
      stopping.abort(error);
    }
  }
  for (const part of started.reverse()) await stopPart(part, stopLimitMs, log);
  log.info({ code }, 'Stopped.');
  log.flush();
  process.off('SIGTERM', onSignal);
  process.off('SIGINT', onSignal);
  process.off('uncaughtException', onFatal);
  process.off('unhandledRejection', onFatal);
  exit(code);
}

async function stopPart(part: Part, limitMs: number, log: Logger): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), limitMs);
  });
  try {
    const outcome = await Promise.race([part.stop(), limit]);
    if (outcome === 'late') log.error({ part: part.name, limit_ms: limitMs }, 'A part did not stop in time; it is left behind.');
  } catch (error) {
    log.error({ part: part.name, err: error }, 'A part failed to stop.');
  } finally {
    clearTimeout(timer);
  }
}
