/** A stand-in for the center, for tests of the agent alone: keeps in memory what the real one keeps in MySQL. */
import { PermanentError } from '@openservice/domain';
import {
  CMD_STREAM,
  CMD_SUBJECTS,
  type CommandType,
  cmdDurable,
  cmdFilter,
  cmdSubject,
  decodeJson,
  encodeJson,
  eventSchema,
  type HeldAttempt,
  type JobEvent,
  ROOT,
  type Verdict,
} from '@openservice/protocol';
import { type CenterReply, connectNats, createLog, newTraceparent, serveCenter, tellNode } from '@openservice/runtime';
import { AckPolicy, type NatsConnection, RetentionPolicy } from 'nats';

type Limits = CenterReply<'sync'>['limits'];

export class StandInCenter {
  readonly nodeId: string;
  readonly events: JobEvent[] = [];
  /** Copies of events that came again. */
  repeats = 0;
  syncs = 0;
  heartbeats = 0;
  prepares = 0;
  leaseMs = 10_000;
  answersHave = true;
  granting = true;
  verdict: Verdict = 'continue';
  /** Told at each sync. */
  poolTokenKey: string | undefined;
  /** Told at each sync. */
  limits: Limits = { bandwidth: null, pools: [] };
  /** What the node held at its last sync. */
  held: readonly HeldAttempt[] = [];
  #nc: NatsConnection;
  #waiting: (() => void)[] = [];
  #commands = 0;

  private constructor(nc: NatsConnection, nodeId: string) {
    this.#nc = nc;
    this.nodeId = nodeId;
  }

  static async start(url: string, nodeId: string): Promise<StandInCenter> {
    const log = createLog({ name: 'stand-in', level: 'silent' });
    const nc = await connectNats({ url, name: 'stand-in', log, signal: AbortSignal.timeout(10_000) });
    const center = new StandInCenter(nc, nodeId);
    await serveCenter(
      nc,
      {
        sync: async ({ held }) => {
          center.syncs++;
          center.held = held;
          await center.#makeConsumer();
          center.#changed();
          const answers = held.map(({ job_id, attempt }) => ({ job_id, attempt, verdict: center.verdict }));
          return {
            answers,
            unknown_instances: [],
            heartbeat_ms: 200,
            lease_ms: center.leaseMs,
            pool_token_key: center.poolTokenKey,
            limits: center.limits,
          };
        },
        heartbeat: async () => {
          center.heartbeats++;
          center.#changed();
          return { lease_ms: center.leaseMs, sync: false };
        },
        prepare: async () => {
          center.prepares++;
          center.#changed();
          return { granted: center.granting, reason: center.granting ? '' : 'a newer attempt' };
        },
        record: async () => notHere(),
        found: async () => notHere(),
        pool: async () => notHere(),
        pool_token: async () => notHere(),
        pool_login: async () => notHere(),
      },
      { version: '0.0.1', log },
    );
    nc.subscribe(`${ROOT}.evt.${nodeId}.>`, {
      callback: (error, message) => {
        if (error === null) center.#onEvent(eventSchema.parse(decodeJson(message.data)));
      },
    });
    await nc.flush();
    return center;
  }

  async stop(): Promise<void> {
    await this.#nc.close();
  }

  /** Sends a command; answers the envelope, to be sent again. */
  async send(type: CommandType, job: string, attempt: number, payload: unknown): Promise<Record<string, unknown>> {
    const envelope = {
      v: 1,
      id: `${job}-${attempt}-${type}-${++this.#commands}`,
      type,
      job_id: job,
      attempt,
      seq: 0,
      node: this.nodeId,
      node_epoch: 0,
      sent_at: new Date().toISOString(),
      traceparent: newTraceparent(),
      payload,
    };
    await this.sendRaw(type, envelope);
    return envelope;
  }

  async sendRaw(type: CommandType, body: unknown): Promise<void> {
    await this.#makeConsumer();
    await this.#nc
      .jetstream()
      .publish(cmdSubject(this.nodeId, type), typeof body === 'string' ? new TextEncoder().encode(body) : encodeJson(body));
  }

  async run(job: string, attempt = 1, priority = 5): Promise<Record<string, unknown>> {
    const params = {
      block_id: 'block-1',
      size: 4,
      chunk_size: 4,
      pool_id: 'pool-1',
      source: { type: 'file', node_id: this.nodeId, path: '/x' },
    };
    return await this.send('run', job, attempt, { kind: 'import', fence: attempt, params, priority });
  }

  async command(type: 'pause' | 'resume' | 'drain', job: string, attempt = 1): Promise<Record<string, unknown>> {
    return await this.send(type, job, attempt, {});
  }

  /** Resolves once the node has journalled all commands sent so far: it takes one after the other. */
  async untilTaken(): Promise<void> {
    const job = `mark-${++this.#commands}`;
    await this.send('cancel', job, 1, { reason: 'a mark' });
    await this.until(() => this.find(job, 'cancelled') !== undefined);
  }

  of(job: string, attempt = 1): string[] {
    return this.events
      .filter((event) => event.job_id === job && event.attempt === attempt)
      .sort((a, b) => a.seq - b.seq)
      .map(({ type }) => type);
  }

  find(job: string, type: string): JobEvent | undefined {
    return this.events.find((event) => event.job_id === job && event.type === type);
  }

  /** Resolves once `condition` holds; looked at whenever something reaches this center. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Commands that no node has acknowledged. */
  async backlog(): Promise<number> {
    const info = await (await this.#nc.jetstreamManager()).streams.info(CMD_STREAM);
    return info.state.messages;
  }

  async wipe(): Promise<void> {
    await (await this.#nc.jetstreamManager()).streams.delete(CMD_STREAM);
  }

  have(event: JobEvent): void {
    const { job_id, attempt, seq } = event;
    tellNode(this.#nc, this.nodeId, 'have', { events: [{ job_id, attempt, seq }] });
  }

  async #makeConsumer(): Promise<void> {
    const jsm = await this.#nc.jetstreamManager();
    await jsm.streams.add({ name: CMD_STREAM, subjects: [CMD_SUBJECTS], retention: RetentionPolicy.Workqueue });
    await jsm.consumers.add(CMD_STREAM, {
      durable_name: cmdDurable(this.nodeId),
      filter_subject: cmdFilter(this.nodeId),
      ack_policy: AckPolicy.Explicit,
      ack_wait: 2_000_000_000,
    });
  }

  #onEvent(event: JobEvent): void {
    const known = this.events.some((e) => e.job_id === event.job_id && e.attempt === event.attempt && e.seq === event.seq);
    if (known) this.repeats++;
    else this.events.push(event);
    if (this.answersHave) this.have(event);
    this.#changed();
  }

  #changed(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** The agent itself asks for none of these. */
function notHere(): never {
  throw new PermanentError('no_pools', 'The stand-in knows no pools.');
}
