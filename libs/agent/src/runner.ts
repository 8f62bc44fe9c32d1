/**
 * Runs attempts: one at a time for each (job, attempt) in this process, and never two of one job. Who asks for an attempt that
 * runs already gets the end of that run: so a queue that lost its jobs, or its locks, may start them again without harm.
 *
 * How a run ends goes to the journal first, with its event; only then does anybody hear of it.
 */
import { asOpenServiceError, CancelledError, type JobKind, PermanentError, TransientError } from '@openservice/domain';
import {
  encodeJson,
  type JobResult,
  jobParams,
  jobResult,
  type Progress,
  type ProgressMessage,
  progSubject,
} from '@openservice/protocol';
import { failpoint, type Logger, orAborted } from '@openservice/runtime';
import type { NatsConnection } from 'nats';
import { type Board, NO_BOARD } from './board.ts';
import { requestCommit } from './commit.ts';
import type { AttemptKey, AttemptRow, Journal, NewEvent } from './journal/journal.ts';
import { hasWish, isAtRest } from './journal/wishes.ts';
import type { Outbox } from './outbox.ts';
import type { HandlerTable, JobContext, JobHandler } from './port.ts';
import { ProgressTeller } from './progress.ts';
import { StoppedAtCheckpoint, throwIfStopped } from './stop.ts';

const CLEAN_UP_MS = 60_000;

export interface RunnerOptions {
  nc: NatsConnection;
  nodeId: string;
  journal: Journal;
  outbox: Outbox;
  handlers: HandlerTable;
  log: Logger;
  assertLease: () => void;
  /** Resolves once the node has its lease, or does not get it for long. */
  awaitLease: (signal: AbortSignal) => Promise<void>;
}

/**
 * `stopped`: the node stops, the attempt goes on after its next start. `paused`: it rests in the journal until it is resumed, which may have
 * happened by now. `yielded`: it is over, and was given back to the center.
 */
export type RunEnd =
  | { outcome: 'succeeded' | 'cancelled' | 'void' | 'stopped' | 'paused' | 'yielded' }
  | { outcome: 'failed'; error: Error };

interface Running {
  abort: AbortController;
  done: Promise<RunEnd>;
}

type AnyHandler = JobHandler<JobKind>;
type Context = JobContext<never>;

export class Runner {
  readonly #options: RunnerOptions;
  readonly #running = new Map<string, Running>();
  #stopping = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  isRunning(key: AttemptKey): boolean {
    return this.#running.has(nameOf(key));
  }

  /** Runs the attempt, or waits for the run that is under way. Resolves when it has ended; rejects only if the journal fails. */
  run(key: AttemptKey, board: Board = NO_BOARD): Promise<RunEnd> {
    const name = nameOf(key);
    const there = this.#running.get(name);
    if (there !== undefined) return there.done;
    if (this.#stopping) return Promise.resolve({ outcome: 'stopped' });
    const abort = new AbortController();
    const others = [...this.#running].filter(([other]) => other.startsWith(`${key.jobId}/`)).map(([, running]) => running.done);
    // Started in a later tick, so that `#running` holds it before its first line runs.
    const done = Promise.allSettled(others)
      .then(() => this.#execute(key, abort, board))
      .finally(() => this.#running.delete(name));
    this.#running.set(name, { abort, done });
    return done;
  }

  /** Stops the attempt where it runs; `reason` says how it is to end. */
  abort(key: AttemptKey, reason: Error): void {
    this.#running.get(nameOf(key))?.abort.abort(reason);
  }

  /** Stops all; they stay journalled as they are. Resolves when they have ended, or after `limitMs`. */
  async stop(limitMs: number): Promise<void> {
    this.#stopping = true;
    const all = [...this.#running.values()];
    for (const { abort } of all)
      abort.abort(new TransientError('node_stopping', 'The node stops; the job goes on when it is back.'));
    const limit = AbortSignal.timeout(limitMs);
    await orAborted(Promise.allSettled(all.map(({ done }) => done)), limit).catch(() => undefined);
  }

  async #execute(key: AttemptKey, abort: AbortController, board: Board): Promise<RunEnd> {
    const { journal, log } = this.#options;
    const row = journal.get(key);
    if (row === null || row.state === 'finished') return { outcome: 'void' };
    if (this.#stopping) return { outcome: 'stopped' };
    const jobLog = log.child({ job_id: key.jobId, attempt: key.attempt, kind: row.kind });
    const publish = (message: ProgressMessage): void => this.#publish(message);
    const progress = new ProgressTeller(publish, this.#options.nodeId, key, board);
    const signal = abort.signal;
    if (isAtRest(row)) return { outcome: 'paused' };
    if (row.cancel !== null && row.state !== 'committing') abort.abort(new CancelledError());
    else if (hasWish(row)) abort.abort(new StoppedAtCheckpoint(row.wish ?? 'pause'));
    try {
      signal.throwIfAborted();
      const context = this.#begin(row, abort, progress, board, jobLog);
      const result = jobResult.parse(await this.#handler(row).run(context));
      await failpoint('agent.committed');
      return await this.#succeed(row, result, progress, jobLog);
    } catch (error) {
      return await this.#fail(row, error, signal, progress, jobLog);
    } finally {
      progress.end();
    }
  }

  #begin(row: AttemptRow, abort: AbortController, progress: ProgressTeller, board: Board, log: Logger): Context {
    const { journal, outbox } = this.#options;
    const { signal } = abort;
    const params = parseParams(row);
    // `committing` stays: the grant holds over a restart.
    const state = row.state === 'committing' ? null : 'running';
    const payload = { resumed: row.state !== 'accepted', at: new Date().toISOString() };
    journal.begin(row, state, { type: 'running', payload }, Date.now());
    outbox.kick();
    log.info({ resumed: payload.resumed }, 'The attempt runs.');
    return {
      ...this.#identity(row, params, signal, board, log),
      checkpoint: async (checkpoint) => {
        throwIfStopped(signal);
        const event = progress.last === null ? null : { type: 'checkpoint', payload: progress.last };
        journal.checkpoint(row, checkpoint, event, (seq) => !outbox.wasSent(row, seq), Date.now());
        outbox.kick();
        await failpoint('agent.checkpointed');
        const now = journal.get(row);
        if (now === null || !hasWish(now)) return;
        abort.abort(new StoppedAtCheckpoint(now.wish ?? 'pause'));
        throwIfStopped(signal);
      },
      progress: (given: Progress) => progress.update(given),
      preparing: async () => {
        throwIfStopped(signal);
        const event = { type: 'preparing', payload: progress.last ?? NO_PROGRESS };
        journal.advance(row, journal.get(row)?.state === 'committing' ? null : 'preparing', event, Date.now());
        outbox.kick();
      },
      requestCommit: async (result) => {
        throwIfStopped(signal);
        await requestCommit({ ...this.#options, log }, row, result, signal);
        // A grant of before a restart, or of a center that has just come back, may be there before the first heartbeat's answer:
        // without this wait the attempt would be void for nothing.
        await this.#options.awaitLease(signal);
      },
      awaitLease: () => this.#options.awaitLease(signal),
      assertLease: () => this.#options.assertLease(),
    };
  }

  #identity(row: AttemptRow, params: unknown, signal: AbortSignal, board: Board, log: Logger) {
    return {
      jobId: row.jobId,
      attempt: row.attempt,
      fence: row.fence,
      params: params as never,
      signal,
      lastCheckpoint: row.checkpoint,
      log: (message: string, fields?: Record<string, unknown>) => {
        log.info(fields ?? {}, message);
        board.line(message);
      },
    };
  }

  async #succeed(row: AttemptRow, result: JobResult, progress: ProgressTeller, log: Logger): Promise<RunEnd> {
    const { journal, outbox } = this.#options;
    const payload = { ...result, progress: result.progress ?? progress.last };
    if (!journal.finish(row, 'succeeded', { type: 'succeeded', payload }, Date.now())) {
      log.warn('The attempt ended well, but was void by then.');
      return { outcome: 'void' };
    }
    await failpoint('agent.result-journalled');
    outbox.kick();
    log.info('The attempt succeeded.');
    return { outcome: 'succeeded' };
  }

  async #fail(row: AttemptRow, thrown: unknown, signal: AbortSignal, progress: ProgressTeller, log: Logger): Promise<RunEnd> {
    const { journal } = this.#options;
    // What the work threw after it was told to stop is an echo; the reason it was told is what counts.
    const error = asOpenServiceError(signal.aborted ? signal.reason : thrown);
    if (error.code === 'node_stopping') return { outcome: 'stopped' };
    if (error instanceof StoppedAtCheckpoint) return await this.#rest(row, progress, log);
    if (error.outcome === 'fenced') {
      log.warn({ err: error }, 'The attempt is void; it is dropped.');
      if (journal.get(row)?.state !== 'finished') journal.makeVoid(row);
      return { outcome: 'void' };
    }
    if (error.code === 'internal') log.error({ err: thrown }, 'The handler failed unexpectedly.');
    if (error.outcome === 'cancelled') return await this.#cancelled(row, progress, log);
    const transient = error.outcome === 'transient';
    if (!transient) await this.#cleanUp(row, log);
    const failure = { code: error.code.slice(0, 64), message: error.message.slice(0, 2000) };
    const payload = { error: failure, transient, progress: progress.last };
    await this.#end(row, transient ? 'failed_transient' : 'failed', { type: 'failed', payload });
    log.warn({ code: error.code, why: error.message, transient }, 'The attempt failed.');
    return { outcome: 'failed', error };
  }

  async #cancelled(row: AttemptRow, progress: ProgressTeller, log: Logger): Promise<RunEnd> {
    await this.#cleanUp(row, log);
    await this.#end(row, 'cancelled', { type: 'cancelled', payload: { progress: progress.last } });
    log.info('The attempt was cancelled.');
    return { outcome: 'cancelled' };
  }

  /** The work has stopped at a checkpoint. Nothing is cleaned up: what is durable is what the attempt, or the next one, goes on from. */
  async #rest(row: AttemptRow, progress: ProgressTeller, log: Logger): Promise<RunEnd> {
    const { journal, outbox } = this.#options;
    await failpoint('agent.stopped');
    const end = journal.wishes.honour(row, progress.last, Date.now());
    await failpoint('agent.rested');
    outbox.kick();
    if (end !== null) {
      log.info({ end }, 'The attempt stopped at a checkpoint.');
      return { outcome: end };
    }
    // Something else came while the work was stopping: it was made void, cancelled, or is to go on.
    const now = journal.get(row);
    if (now === null || now.state === 'finished') return { outcome: 'void' };
    if (now.cancel !== null) return await this.#cancelled(row, progress, log);
    return { outcome: 'paused' };
  }

  async #end(row: AttemptRow, outcome: 'cancelled' | 'failed' | 'failed_transient', event: NewEvent): Promise<void> {
    const { journal, outbox } = this.#options;
    journal.finish(row, outcome, event, Date.now());
    await failpoint('agent.result-journalled');
    outbox.kick();
  }

  async #cleanUp(row: AttemptRow, log: Logger): Promise<void> {
    const signal = AbortSignal.timeout(CLEAN_UP_MS);
    try {
      const fresh = this.#options.journal.get(row) ?? row;
      const context = this.#identity(fresh, parseParams(row), signal, NO_BOARD, log);
      await orAborted(this.#handler(row).cleanUp(context), signal);
    } catch (error) {
      log.warn(
        { err: error },
        'What the attempt left could not all be removed; the pool drops it when the block is written or swept next.',
      );
    }
  }

  /** Best effort: nobody waits for it, and a newer one follows. */
  #publish(message: ProgressMessage): void {
    const { nc, outbox, nodeId, log } = this.#options;
    if (!outbox.connected || nc.isClosed() || nc.isDraining()) return;
    try {
      nc.publish(progSubject(nodeId, message.job_id), encodeJson(message));
    } catch (error) {
      log.debug({ err: error }, 'Progress could not be sent.');
    }
  }

  #handler(row: AttemptRow): AnyHandler {
    return this.#options.handlers[row.kind as JobKind] as unknown as AnyHandler;
  }
}

const NO_PROGRESS: Progress = { bytes_total: 0, bytes_done: 0, bytes_sent: 0, bytes_skipped: 0, rate: 0, eta_ms: null };

function parseParams(row: AttemptRow): unknown {
  const schema = jobParams[row.kind as JobKind];
  const parsed = schema?.safeParse(row.params);
  if (parsed?.success) return parsed.data;
  const issue = parsed?.error.issues[0];
  throw new PermanentError(
    'invalid_command',
    `The center sent a ${row.kind || 'nameless'} job that this node cannot read (${issue?.path.join('.')}: ${issue?.message}); run the same version of both.`,
  );
}

function nameOf(key: AttemptKey): string {
  return `${key.jobId}/${key.attempt}`;
}
