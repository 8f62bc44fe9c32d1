/**
 * The port of job handlers. The agent takes a command from NATS to a handler and the handler's outcome back to the
 * center: journal, queue, retry of messages, fencing and deadlines are the agent's; a handler only does the work.
 */
import type { JobKind } from '@openservice/domain';
import type { JobParams, JobResult, Progress } from '@openservice/protocol';

export interface JobContext<Params> {
  readonly jobId: string;
  readonly attempt: number;
  /** Fencing token to give to every pool that is written. */
  readonly fence: number;
  readonly params: Params;
  /**
   * Fires when the work must stop: cancelled, paused or given back at a checkpoint, a newer attempt, the node stops. Its reason is the
   * error to end with (CancelledError, FencedError, or TransientError `node_stopping`).
   */
  readonly signal: AbortSignal;
  /** What this attempt (or, where the center passes it on, an earlier one of the job on this node) last checkpointed; null at first. */
  readonly lastCheckpoint: unknown;
  /**
   * Journals `state` (JSON, small). Call it after what it says is durable. Where the attempt is to pause, or to be given back, it stops
   * here: `signal` fires, and its reason is thrown. Never once `preparing` or `requestCommit` was called.
   */
  checkpoint(state: unknown): Promise<void>;
  /** Tells people; sent at most once a second, the newest wins. */
  progress(progress: Progress): void;
  /** Says that work is done and is being made durable. */
  preparing(): Promise<void>;
  /**
   * Asks the center for leave to commit what is prepared, and journals the answer; resolves when it is granted. Waits while
   * no center answers; FencedError when the attempt is void. Granted once stays granted, over a restart of the node too.
   */
  requestCommit(result: JobResult): Promise<void>;
  /**
   * Resolves once the node has its lease (it has just started, or the center has just come back), or has waited long for it. For a job
   * that deletes without leave to commit: await it, then ask assertLease.
   */
  awaitLease(): Promise<void>;
  /** Throws FencedError when the node is past its lease: call right before deleting or committing. */
  assertLease(): void;
  log(message: string, fields?: Record<string, unknown>): void;
}

export interface JobHandler<Kind extends JobKind = JobKind> {
  readonly kind: Kind;
  /** How many of this kind run at once on a node. */
  readonly concurrency: number;
  /**
   * Does the work and answers its result, after its own commit. May be started again for the same attempt after a crash
   * at any line, and must then end the same way. Errors are those of @openservice/domain.
   */
  run(context: JobContext<JobParams[Kind]>): Promise<JobResult>;
  /** Drops what an attempt left uncommitted: called when the attempt was cancelled, or failed for good. May be repeated. */
  cleanUp(
    context: Pick<JobContext<JobParams[Kind]>, 'jobId' | 'attempt' | 'fence' | 'params' | 'signal' | 'log' | 'lastCheckpoint'>,
  ): Promise<void>;
}

/** One handler for each kind; the type of the table proves at compile time that none is missing, `provesComplete` at start. */
export type HandlerTable = { readonly [Kind in JobKind]: JobHandler<Kind> };
