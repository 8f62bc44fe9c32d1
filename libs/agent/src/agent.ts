/**
 * The agent: a command's way from NATS over the journal and the queue to a handler, and its outcome back. Redis and NATS may be
 * away or lose all at any time; the journal carries the node through it.
 */
import { CancelledError, FencedError, JOB_KINDS, PermanentError } from '@openservice/domain';
import type { Command, InstanceReport, Verdict } from '@openservice/protocol';
import type { Logger } from '@openservice/runtime';
import type { NatsConnection } from 'nats';
import { Commands, type Placed } from './commands.ts';
import { Health } from './health.ts';
import { diskCheck, journalCheck, redisCheck } from './health-checks.ts';
import { type AttemptKey, Journal } from './journal/journal.ts';
import { hasWish } from './journal/wishes.ts';
import { Outbox } from './outbox.ts';
import type { HandlerTable } from './port.ts';
import { type NodeDescription, Presence, type SyncLimits } from './presence.ts';
import { Queues } from './queue.ts';
import { Runner } from './runner.ts';

const HEALTH_EVERY_MS = 5000;
const PROBE_LIMIT_MS = 10_000;
const REDIS_AWAY_MS = 60_000;

export interface AgentOptions {
  nodeId: string;
  name: string;
  version: string;
  /** Holds the journal; one process at a time. */
  dataDir: string;
  nats: NatsConnection;
  redisUrl: string;
  handlers: HandlerTable;
  /** Asked at each sync. */
  describe: () => NodeDescription;
  /** Asked at each sync: live disks of the node. Left out: it has none. */
  instances?: (() => Promise<InstanceReport[]>) | undefined;
  /** Called at each sync with the center's public key for pool tokens (SPKI DER, base64). */
  onTokenKey?: ((key: string) => void) | undefined;
  /** Called at each sync with the limits that hold from now on for all that jobs of this node move. */
  onLimits?: ((limits: SyncLimits) => void) | undefined;
  log: Logger;
  /** Most time for runs to stop, ms. Default 8 s. */
  stopLimitMs?: number;
  /** ms between two looks at the node's own health. Default 5 s. */
  healthEveryMs?: number | undefined;
}

export interface Agent {
  /** Begins; neither Redis nor a center need be there. */
  start(): void;
  /** Stops taking commands, stops what runs (it stays journalled), closes all. May be called twice. */
  stop(): Promise<void>;
  /** The center has these events: for the node's `have` endpoint. */
  have(events: readonly { job_id: string; attempt: number; seq: number }[]): void;
  /** Why the node is unwell, a sentence: it sends no heartbeat then. Null: it is well. */
  readonly unwell: string | null;
}

/** PermanentError `data_dir_in_use`, `data_dir_unusable`, `incomplete_handlers`. */
export function createAgent(options: AgentOptions): Agent {
  provesComplete(options.handlers);
  return new NodeAgent(options);
}

/** Exactly one handler for each kind, each with a sane concurrency. */
export function provesComplete(handlers: HandlerTable): void {
  const given = Object.entries(handlers);
  const fine = given.every(
    ([kind, handler]) => handler.kind === kind && Number.isInteger(handler.concurrency) && handler.concurrency > 0,
  );
  const kinds = given.map(([kind]) => kind).sort();
  if (fine && kinds.join() === [...JOB_KINDS].sort().join()) return;
  throw new PermanentError(
    'incomplete_handlers',
    `The node must have exactly one handler, with a concurrency, for each of ${JOB_KINDS.join(', ')}; it has ${kinds.join(', ')}.`,
  );
}

class NodeAgent implements Agent {
  readonly #log: Logger;
  readonly #options: AgentOptions;
  readonly #journal: Journal;
  readonly #outbox: Outbox;
  readonly #presence: Presence;
  readonly #runner: Runner;
  readonly #queues: Queues;
  readonly #health: Health;
  readonly #commands: Commands;
  #stopped: Promise<void> | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    const { nodeId, nats: nc, handlers, log } = options;
    this.#log = log;
    const journal = new Journal(options.dataDir);
    this.#journal = journal;
    const epoch = journal.nextEpoch(Date.now());
    this.#outbox = new Outbox({ nc, nodeId, epoch, journal, log });
    this.#presence = new Presence({
      nc,
      nodeId,
      name: options.name,
      version: options.version,
      epoch,
      kinds: JOB_KINDS,
      describe: options.describe,
      instances: options.instances,
      journal,
      log,
      unwell: () => this.#health.reason,
      onVerdict: (key, verdict) => this.#onVerdict(key, verdict),
      onSynced: () => this.#commands.onSynced(),
      onTokenKey: options.onTokenKey,
      onLimits: options.onLimits,
    });
    const assertLease = (): void => this.#presence.assertLease();
    const awaitLease = (signal: AbortSignal): Promise<void> => this.#presence.awaitLease(signal);
    this.#runner = new Runner({ nc, nodeId, journal, outbox: this.#outbox, handlers, log, assertLease, awaitLease });
    this.#queues = new Queues({ redisUrl: options.redisUrl, nodeId, journal, runner: this.#runner, handlers, log });
    this.#health = new Health({
      checks: [diskCheck(options.dataDir), journalCheck(journal), redisCheck(() => this.#queues.ping(), REDIS_AWAY_MS)],
      everyMs: options.healthEveryMs ?? HEALTH_EVERY_MS,
      limitMs: PROBE_LIMIT_MS,
      log,
      onWell: () => this.#presence.sync(),
    });
    this.#commands = new Commands({
      nc,
      nodeId,
      log,
      onCommands: (commands) => this.#journalCommands(commands),
      onAcked: (command) => this.#actOn(command),
      askForSync: () => this.#presence.sync(),
    });
  }

  start(): void {
    for (const row of this.#journal.open()) if (row.cancel !== null || row.wish !== null) this.#runNow(row);
    this.#queues.start();
    void this.#health.start();
    this.#presence.start();
    this.#commands.start();
    this.#outbox.kick();
  }

  stop(): Promise<void> {
    this.#stopped ??= (async () => {
      await this.#commands.stop();
      await this.#health.stop();
      await this.#runner.stop(this.#options.stopLimitMs ?? 8000);
      await this.#queues.stop();
      await this.#presence.stop();
      this.#outbox.stop();
      this.#journal.close();
    })();
    return this.#stopped;
  }

  have(events: readonly { job_id: string; attempt: number; seq: number }[]): void {
    if (this.#stopped) return;
    this.#journal.dropEvents(events.map(({ job_id, attempt, seq }) => ({ jobId: job_id, attempt, seq })));
    this.#outbox.kick();
  }

  get unwell(): string | null {
    return this.#health.reason;
  }

  #journalCommands(commands: readonly Placed[]): void {
    const fenced = this.#journal.together(() => commands.map((one) => ({ ...one, voided: this.#journalCommand(one) })));
    for (const { command, voided } of fenced) this.#fence(voided, command.attempt);
  }

  /** Answers the attempts that it made void. */
  #journalCommand({ command, place }: Placed): readonly AttemptKey[] {
    const key = { jobId: command.job_id, attempt: command.attempt };
    const log = this.#log.child({ job_id: key.jobId, attempt: key.attempt });
    const now = Date.now();
    switch (command.type) {
      case 'run': {
        const { verdict, voided } = this.#journal.accept(command, now);
        log.info({ kind: command.payload.kind, verdict }, 'Command to run.');
        return voided;
      }
      case 'cancel': {
        const { verdict, voided } = this.#journal.cancel(key, command.payload.reason, command.traceparent, now);
        log.info({ verdict }, 'Command to cancel.');
        return voided;
      }
      case 'pause':
        log.info({ verdict: this.#journal.wishes.want(key, 'pause', place, now) }, 'Command to pause.');
        break;
      case 'drain':
        log.info({ verdict: this.#journal.wishes.want(key, 'yield', place, now) }, 'Command to give the attempt back.');
        break;
      case 'resume':
        log.info({ verdict: this.#journal.wishes.resume(key, place) }, 'Command to go on.');
        break;
      case 'sync':
        break;
    }
    return [];
  }

  #actOn(command: Command): void {
    const key = { jobId: command.job_id, attempt: command.attempt };
    this.#outbox.kick();
    switch (command.type) {
      case 'run':
        if (this.#isToStop(key)) this.#runNow(key);
        else this.#queues.add(key);
        break;
      case 'cancel': {
        const row = this.#journal.get(key);
        if (row === null || row.state === 'finished' || row.cancel === null || row.state === 'committing') break;
        // One that does not run yet is run to be cleaned up; a queue that is away must not hold that up.
        if (this.#runner.isRunning(key)) this.#runner.abort(key, new CancelledError(`The job was cancelled: ${row.cancel}`));
        else this.#runNow(key);
        break;
      }
      case 'pause':
      case 'drain':
        // One that runs stops at its next checkpoint. One that does not is run to be stopped before it begins.
        if (this.#isToStop(key) && !this.#runner.isRunning(key)) this.#runNow(key);
        break;
      case 'resume':
        this.#queues.addAgain(key);
        break;
      case 'sync':
        this.#presence.sync();
        break;
    }
  }

  #isToStop(key: AttemptKey): boolean {
    const row = this.#journal.get(key);
    return row !== null && hasWish(row);
  }

  #onVerdict(key: AttemptKey, verdict: Verdict): void {
    if (verdict === 'abort') {
      this.#journal.makeVoid(key);
      this.#runner.abort(key, new FencedError('The center says that this attempt is void.'));
    } else if (verdict === 'forget') {
      this.#journal.forget(key);
      this.#runner.abort(key, new FencedError('The center has the end of this attempt.'));
    } else if (verdict === 'resend') {
      this.#journal.tellAgain(key, Date.now());
      this.#outbox.resend(key);
    }
  }

  #fence(voided: readonly AttemptKey[], newer: number): void {
    for (const key of voided) this.#runner.abort(key, new FencedError(`Attempt ${newer} of the job makes this one void.`));
  }

  #runNow(key: AttemptKey): void {
    this.#runner
      .run(key)
      .then(({ outcome }) => {
        if (outcome === 'paused' || outcome === 'yielded') this.#queues.settle(key);
      })
      .catch((error: unknown) =>
        this.#log.error({ err: error, job_id: key.jobId }, 'The end of an attempt could not be journalled.'),
      );
  }
}
