/** A stand-in for a node: speaks the protocol, does no work. What it does with a command is the test's to say. */
import {
  CMD_STREAM,
  type Command,
  cmdDurable,
  commandSchema,
  decodeJson,
  encodeJson,
  evtSubject,
  type HeldAttempt,
  type InstanceReport,
  type JobEvent,
  type JobEventType,
  nodeRpcSubject,
  progSubject,
} from '@openservice/protocol';
import { type CenterReply, callCenter } from '@openservice/runtime';
import { connect, type NatsConnection } from 'nats';
import { event, PROGRESS } from './events.ts';

export class StandInNode {
  readonly id: string;
  readonly nc: NatsConnection;
  /** Everything that came, again and again where it was sent again. */
  readonly commands: { command: Command; at: number; msgId: string }[] = [];
  /** What the center said that it has, as `job/attempt/seq`. */
  readonly had: string[] = [];
  onCommand: (command: Command) => Promise<void> = async () => undefined;
  epoch = 1;
  poolEndpoint: string | null = null;
  poolFingerprint: string | null = null;
  #stopped = false;
  #stopPull: () => void = () => undefined;
  #work: Promise<void> = Promise.resolve();

  private constructor(id: string, nc: NatsConnection) {
    this.id = id;
    this.nc = nc;
    nc.subscribe(nodeRpcSubject(id, 'have'), {
      callback: (_, message) => {
        const { events } = decodeJson(message.data) as { events: { job_id: string; attempt: number; seq: number }[] };
        for (const one of events) this.had.push(`${one.job_id}/${one.attempt}/${one.seq}`);
      },
    });
  }

  static async connect(id: string, url: string): Promise<StandInNode> {
    return new StandInNode(id, await connect({ servers: [new URL(url).host], maxReconnectAttempts: -1, reconnectTimeWait: 100 }));
  }

  sync(held: HeldAttempt[] = [], instances: InstanceReport[] = []): Promise<CenterReply<'sync'>> {
    const request = {
      node_id: this.id,
      name: this.id,
      epoch: this.epoch,
      version: '0.0.1',
      kinds: ['upload'],
      import_roots: [],
      pool_endpoint: this.poolEndpoint,
      pool_fingerprint: this.poolFingerprint,
      nbd_endpoint: null,
      held,
      instances,
    };
    return callCenter(this.nc, this.id, 'sync', request, { timeoutMs: 10_000 });
  }

  heartbeat(): Promise<CenterReply<'heartbeat'>> {
    return callCenter(this.nc, this.id, 'heartbeat', { node_id: this.id, epoch: this.epoch }, { timeoutMs: 5_000 });
  }

  /** Syncs and takes commands until `stop`. */
  async start(): Promise<void> {
    await this.sync();
    this.#work = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        const consumer = await this.nc.jetstream().consumers.get(CMD_STREAM, cmdDurable(this.id));
        const messages = await consumer.fetch({ max_messages: 16, expires: 2000, idle_heartbeat: 600 });
        this.#stopPull = () => messages.stop();
        if (this.#stopped) messages.stop();
        for await (const message of messages) {
          const command = commandSchema.parse(decodeJson(message.data));
          this.commands.push({ command, at: performance.now(), msgId: message.headers?.get('Nats-Msg-Id') ?? '' });
          message.ack();
          await this.onCommand(command);
        }
      } catch (error) {
        if (this.#stopped) return;
        // As a node does: no consumer means that a center must make it.
        await this.sync().catch(() => undefined);
        if (!(error instanceof Error)) throw error;
      }
    }
  }

  async send(jobId: string, attempt: number, seq: number, type: JobEventType, payload?: unknown): Promise<JobEvent> {
    const made = event(jobId, attempt, seq, type, payload, this.id);
    await this.publish(made);
    return made;
  }

  async publish(made: JobEvent): Promise<void> {
    await this.nc.jetstream().publish(evtSubject(this.id, made.job_id, made.type), encodeJson(made));
  }

  progress(jobId: string, attempt: number): void {
    this.nc.publish(progSubject(this.id, jobId), encodeJson({ ...PROGRESS, v: 1, job_id: jobId, attempt, node: this.id }));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopPull();
    await this.#work;
    await this.nc.close();
  }
}
