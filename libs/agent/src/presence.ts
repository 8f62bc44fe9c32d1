/**
 * Tells the centers that this node is there and what it holds, and does what they answer. The lease runs from the moment a
 * heartbeat was sent, on the process's own monotonic clock. While the node is unwell (its disk, journal or Redis, see health.ts) neither
 * heartbeat nor sync is sent: a node that cannot remember, or cannot work, must not be given work.
 */
import { asOpenServiceError, FencedError } from '@openservice/domain';
import type { InstanceReport, Verdict } from '@openservice/protocol';
import { Backoff, type CenterReply, callCenter, type Logger, onReconnect, orAborted, sleep } from '@openservice/runtime';
import type { NatsConnection } from 'nats';
import type { AttemptKey, Journal } from './journal/journal.ts';

const SYNC_EVERY_MS = 60_000;
const CALL_MS = 5000;
const HELD_LIMIT = 10_000;
const LEASE_WAIT_MS = 30_000;
const LEASE_LOOK_MS = 50;

export interface NodeDescription {
  import_roots: string[];
  pool_endpoint: string | null;
  pool_fingerprint: string | null;
  nbd_endpoint: string | null;
}

export type SyncLimits = CenterReply<'sync'>['limits'];

export interface PresenceOptions {
  nc: NatsConnection;
  nodeId: string;
  name: string;
  version: string;
  epoch: number;
  kinds: readonly string[];
  describe: () => NodeDescription;
  /** Live disks of the node; left out: it has none. */
  instances: (() => Promise<InstanceReport[]>) | undefined;
  journal: Journal;
  log: Logger;
  /** Why the node must not be given work now; null: it may. */
  unwell: () => string | null;
  onVerdict: (key: AttemptKey, verdict: Verdict) => void;
  onSynced: () => void;
  /** At each sync: the key that the tokens of the node's pool server are signed with (SPKI DER, base64). */
  onTokenKey: ((key: string) => void) | undefined;
  /** At each sync. */
  onLimits: ((limits: SyncLimits) => void) | undefined;
}

export class Presence {
  readonly #options: PresenceOptions;
  readonly #stopping = new AbortController();
  #leaseUntil = 0;
  #heartbeatMs = 5000;
  #syncDue = true;
  #lastNote = '';
  #wake: () => void = () => undefined;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: PresenceOptions) {
    this.#options = options;
  }

  start(): void {
    onReconnect(this.#options.nc, () => this.sync());
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('The node stops.'));
    await this.#loop;
  }

  /** Asks for a sync soon. */
  sync(): void {
    this.#syncDue = true;
    this.#wake();
  }

  /**
   * Resolves once the node has its lease: it has just started, or the center has just come back. Resolves without one, too, after a
   * while: assertLease says so then. Rejects with the signal's reason.
   */
  async awaitLease(signal: AbortSignal): Promise<void> {
    const limit = performance.now() + LEASE_WAIT_MS;
    while (performance.now() >= this.#leaseUntil && performance.now() < limit) {
      this.#wake();
      await sleep(LEASE_LOOK_MS, signal);
    }
  }

  assertLease(): void {
    if (performance.now() < this.#leaseUntil) return;
    throw new FencedError(
      'lease lost: no center has answered this node for longer than its lease, so it commits and deletes nothing.',
    );
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const backoff = new Backoff({ minMs: 200, maxMs: 5000 });
    let lastSync = 0;
    while (!signal.aborted) {
      try {
        if (this.#options.unwell() !== null) {
          this.#syncDue = false;
          await this.#rest(this.#heartbeatMs);
          this.#syncDue = true;
        } else {
          if (this.#syncDue || performance.now() - lastSync >= SYNC_EVERY_MS) {
            this.#syncDue = false;
            await this.#sync();
            lastSync = performance.now();
          } else {
            await this.#heartbeat();
          }
          backoff.reset();
          this.#lastNote = '';
          await this.#rest(this.#heartbeatMs);
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#syncDue = true;
        this.#note(error);
        await sleep(backoff.next(), signal).catch(() => undefined);
      }
    }
  }

  async #sync(): Promise<void> {
    const { nc, nodeId, name, version, epoch, kinds, describe, journal, log, onVerdict, onSynced, onTokenKey, onLimits } =
      this.#options;
    const instances = (await this.#options.instances?.()) ?? [];
    const sentAt = performance.now();
    const held = journal.held(HELD_LIMIT);
    const request = {
      node_id: nodeId,
      name,
      epoch,
      version,
      kinds: [...kinds],
      held,
      instances,
      sent_at: new Date().toISOString(),
      ...describe(),
    };
    const reply = await orAborted(callCenter(nc, nodeId, 'sync', request, { timeoutMs: CALL_MS }), this.#stopping.signal);
    this.#heartbeatMs = reply.heartbeat_ms;
    if (reply.pool_token_key !== undefined) onTokenKey?.(reply.pool_token_key);
    onLimits?.(reply.limits);
    journal.tryWrite(Date.now());
    for (const { job_id, attempt, verdict } of reply.answers) {
      if (verdict !== 'continue') log.info({ job_id, attempt, verdict }, 'The center answered for an attempt.');
      onVerdict({ jobId: job_id, attempt }, verdict);
    }
    // After the verdicts: an attempt that is another node's by now must not find itself leased again.
    this.#leaseUntil = sentAt + reply.lease_ms;
    if (reply.unknown_instances.length > 0)
      log.warn(
        { instances: reply.unknown_instances },
        'The center does not know these instances; they are served on until a person removes them.',
      );
    onSynced();
  }

  async #heartbeat(): Promise<void> {
    const { nc, nodeId, epoch } = this.#options;
    const sentAt = performance.now();
    const reply = await orAborted(
      callCenter(nc, nodeId, 'heartbeat', { node_id: nodeId, epoch }, { timeoutMs: CALL_MS }),
      this.#stopping.signal,
    );
    // Once it has ended, only a sync gives the lease back.
    if (performance.now() < this.#leaseUntil) this.#leaseUntil = sentAt + reply.lease_ms;
    else this.#syncDue = true;
    if (reply.sync) this.#syncDue = true;
  }

  /** A refusal (another process has this node's id, a version that does not fit) is for a person to see; a center away is not. */
  #note(error: unknown): void {
    const { message, outcome } = asOpenServiceError(error);
    if (message !== this.#lastNote)
      this.#options.log[outcome === 'transient' ? 'info' : 'error']({ why: message }, 'No center takes this node; trying on.');
    this.#lastNote = message;
  }

  /** Rests until the next heartbeat, or until somebody asks for a sync. */
  async #rest(ms: number): Promise<void> {
    if (this.#syncDue || this.#stopping.signal.aborted) return;
    const { signal } = this.#stopping;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.#wake = () => undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done, { once: true });
      this.#wake = done;
    });
  }
}
