/** Says to the centers that a node is there, as libs/agent does it, for nodes of the bench that are nothing but a name. */
import { JOB_KINDS } from '@openservice/domain';
import type { HeldAttempt } from '@openservice/protocol';
import { callCenter } from '@openservice/runtime';
import type { NatsConnection } from 'nats';

const SYNC_EVERY_MS = 60_000;
const CALL_MS = 5000;
const AGAIN_MS = 500;

export interface Beats {
  /** ms until each heartbeat was answered. */
  heartbeats: number[];
  /** ms until each sync was answered. */
  syncs: number[];
  /** Verdicts other than `continue`. */
  refused: number;
  /** Not answered within 5 s, or with an error. */
  failed: number;
}

export class Presence {
  readonly beats: Beats;
  readonly #nc: NatsConnection;
  readonly #node: string;
  readonly #held: readonly HeldAttempt[];
  readonly #epoch = Date.now();
  readonly #stopping = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  /** `beats`: where to count; several may share it. */
  constructor(nc: NatsConnection, node: string, held: readonly HeldAttempt[], beats: Beats) {
    this.#nc = nc;
    this.#node = node;
    this.#held = held;
    this.beats = beats;
  }

  /** Resolves after the first sync was answered. */
  async start(): Promise<void> {
    let heartbeatMs = await this.#sync();
    this.#loop = (async () => {
      let syncedAt = performance.now();
      while (!this.#stopping.signal.aborted) {
        await this.#rest(heartbeatMs);
        if (this.#stopping.signal.aborted) return;
        try {
          if (performance.now() - syncedAt < SYNC_EVERY_MS && !(await this.#heartbeat())) continue;
          heartbeatMs = await this.#sync();
          syncedAt = performance.now();
        } catch {
          this.beats.failed++;
          syncedAt = 0;
          await this.#rest(AGAIN_MS);
        }
      }
    })();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  async #sync(): Promise<number> {
    const since = performance.now();
    const reply = await callCenter(
      this.#nc,
      this.#node,
      'sync',
      {
        node_id: this.#node,
        name: this.#node,
        epoch: this.#epoch,
        version: '0.1.0',
        kinds: [...JOB_KINDS],
        import_roots: [],
        pool_endpoint: null,
        pool_fingerprint: null,
        nbd_endpoint: null,
        held: [...this.#held],
        instances: [],
        sent_at: new Date().toISOString(),
      },
      { timeoutMs: CALL_MS },
    );
    this.beats.syncs.push(performance.now() - since);
    this.beats.refused += reply.answers.filter(({ verdict }) => verdict !== 'continue').length;
    return reply.heartbeat_ms;
  }

  /** True when a sync is due. */
  async #heartbeat(): Promise<boolean> {
    const since = performance.now();
    const { sync } = await callCenter(
      this.#nc,
      this.#node,
      'heartbeat',
      { node_id: this.#node, epoch: this.#epoch },
      { timeoutMs: CALL_MS },
    );
    this.beats.heartbeats.push(performance.now() - since);
    return sync;
  }

  async #rest(ms: number): Promise<void> {
    const { signal } = this.#stopping;
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
