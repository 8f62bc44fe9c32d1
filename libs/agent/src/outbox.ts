/**
 * Sends the journal's events until a center says that it has them. Nothing else counts as sent: JetStream may lose what it has
 * acknowledged, so its answer is not even waited for. Which were sent when is kept in memory: a restart sends all again.
 */
import { randomUUID } from 'node:crypto';
import { encodeJson, evtSubject, PROTOCOL_VERSION } from '@openservice/protocol';
import { childTraceparent, type Logger, onConnectionChange } from '@openservice/runtime';
import { headers, type NatsConnection } from 'nats';
import type { AttemptKey, Journal, OutboxRow } from './journal/journal.ts';

const FIRST_WAIT_MS = 5000;
const LONGEST_WAIT_MS = 30_000;
/** Events looked at in one go; what lies behind them waits until these are taken. */
const WINDOW = 1000;

interface Sent {
  tries: number;
  /** On performance.now()'s clock. */
  dueAt: number;
}

export interface OutboxOptions {
  nc: NatsConnection;
  nodeId: string;
  epoch: number;
  journal: Journal;
  log: Logger;
}

export class Outbox {
  readonly #options: OutboxOptions;
  #sent = new Map<string, Sent>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #kicked = false;
  #connected = true;

  constructor(options: OutboxOptions) {
    this.#options = options;
    onConnectionChange(options.nc, (connected) => {
      this.#connected = connected;
      if (connected) this.resend();
    });
  }

  /** False while NATS is away: what is published then would only pile up in the client's memory. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Call after each change of the journal: sends soon what has not been sent. */
  kick(): void {
    if (this.#stopped || this.#kicked) return;
    this.#kicked = true;
    setImmediate(() => {
      this.#kicked = false;
      this.#pump();
    });
  }

  /** Sends again at once: all after a reconnect, those of `key` when a center lacks some. */
  resend(key?: AttemptKey): void {
    for (const [name, sent] of this.#sent)
      if (key === undefined || name.startsWith(`${key.jobId}/${key.attempt}/`)) sent.dueAt = 0;
    this.kick();
  }

  wasSent(key: AttemptKey, seq: number): boolean {
    return this.#sent.has(nameOf(key, seq));
  }

  stop(): void {
    this.#pump();
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #pump(): void {
    if (this.#stopped || !this.#connected) return;
    clearTimeout(this.#timer);
    let soonest = LONGEST_WAIT_MS;
    try {
      const rows = this.#options.journal.events(WINDOW);
      const still = new Map<string, Sent>();
      const now = performance.now();
      for (const row of rows) {
        const name = nameOf(row, row.seq);
        const sent = this.#sent.get(name) ?? { tries: 0, dueAt: 0 };
        if (sent.dueAt <= now) {
          this.#options.journal.sync();
          this.#publish(row);
          sent.dueAt = now + Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(sent.tries++, 10));
        }
        soonest = Math.min(soonest, sent.dueAt - now);
        still.set(name, sent);
      }
      this.#sent = still;
    } catch (error) {
      this.#options.log.warn({ err: error }, 'Events could not be sent; they stay in the journal and are sent again.');
      soonest = 1000;
    }
    this.#timer = setTimeout(() => this.#pump(), Math.max(50, soonest));
  }

  #publish(row: OutboxRow): void {
    const { nc, nodeId, epoch } = this.#options;
    // A new id each time: the stream drops an id that it has seen, even one that it has lost since.
    const id = randomUUID();
    const envelope = {
      v: PROTOCOL_VERSION,
      id,
      type: row.type,
      job_id: row.jobId,
      attempt: row.attempt,
      seq: row.seq,
      node: nodeId,
      node_epoch: epoch,
      sent_at: new Date().toISOString(),
      traceparent: childTraceparent(row.traceparent),
      payload: row.payload,
    };
    const head = headers();
    head.set('Nats-Msg-Id', id);
    nc.publish(evtSubject(nodeId, row.jobId, row.type), encodeJson(envelope), { headers: head });
  }
}

function nameOf(key: AttemptKey, seq: number): string {
  return `${key.jobId}/${key.attempt}/${seq}`;
}
