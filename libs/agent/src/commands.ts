/**
 * Takes commands from the node's durable consumer, which a center makes at a sync. Journal first, then the ack: a command that
 * was acknowledged and lost would be found missing by the center, but minutes later.
 */
import { CMD_STREAM, type Command, cmdDurable, commandSchema, decodeJson } from '@openservice/protocol';
import { Backoff, failpoint, type Logger, orAborted, sleep } from '@openservice/runtime';
import type { Consumer, JsMsg, NatsConnection } from 'nats';
import type { Place } from './journal/wishes.ts';

const PULL_MS = 10_000;
const PULL_MESSAGES = 64;

export interface CommandsOptions {
  nc: NatsConnection;
  nodeId: string;
  log: Logger;
  /** Journals the command before it returns. Throwing leaves the command in the stream: it comes again. */
  onCommand: (command: Command, place: Place) => void;
  /** Called after the ack. */
  onAcked: (command: Command) => void;
  /** The stream or the consumer is missing: a sync makes them. */
  askForSync: () => void;
}

export class Commands {
  readonly #options: CommandsOptions;
  readonly #stopping = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  #synced: () => void = () => undefined;
  #stopPull: () => void = () => undefined;

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** A center has answered a sync: the consumer is there now. */
  onSynced(): void {
    this.#synced();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('The node stops.'));
    this.#stopPull();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { nc, nodeId, log, askForSync } = this.#options;
    const { signal } = this.#stopping;
    const backoff = new Backoff({ minMs: 100, maxMs: 5000 });
    let told = false;
    while (!signal.aborted) {
      try {
        const consumers = nc.jetstream({ timeout: 5000 }).consumers;
        const consumer = await orAborted(consumers.get(CMD_STREAM, cmdDurable(nodeId)), signal);
        if (told) log.info('The command consumer is there; taking commands.');
        told = false;
        backoff.reset();
        while (!signal.aborted) await this.#pull(consumer);
      } catch (error) {
        if (signal.aborted) return;
        if (!told) log.info({ why: String(error) }, 'No commands can be taken yet: asking a center for the consumer.');
        told = true;
        askForSync();
        await this.#awaitSync(backoff.next());
      }
    }
  }

  /** Takes what comes within one pull; a message is delivered at once when it is there. */
  async #pull(consumer: Consumer): Promise<void> {
    // A heartbeat of the server shows within seconds that the consumer or the connection went away.
    const messages = await consumer.fetch({ max_messages: PULL_MESSAGES, expires: PULL_MS, idle_heartbeat: 2500 });
    this.#stopPull = () => messages.stop();
    if (this.#stopping.signal.aborted) messages.stop();
    const startedAt = performance.now();
    let count = 0;
    for await (const message of messages) {
      count++;
      await this.#take(message);
    }
    // A pull that ends at once without a message was refused (the consumer is gone): look at the consumer again.
    if (count === 0 && performance.now() - startedAt < PULL_MS / 2 && !this.#stopping.signal.aborted) {
      throw new Error('The server ended the pull early.');
    }
  }

  async #take(message: JsMsg): Promise<void> {
    const { log, onCommand, onAcked } = this.#options;
    const command = this.#parse(message);
    if (command === null) {
      message.term();
      return;
    }
    try {
      onCommand(command, { seq: message.seq, again: message.redelivered });
    } catch (error) {
      log.error(
        { err: error, job_id: command.job_id },
        'A command could not be journalled; it is left in the stream and comes again.',
      );
      message.nak(1000);
      return;
    }
    await failpoint('agent.journalled');
    message.ack();
    await failpoint('agent.acked');
    onAcked(command);
  }

  #parse(message: JsMsg): Command | null {
    const { log, nodeId } = this.#options;
    try {
      const parsed = commandSchema.safeParse(decodeJson(message.data));
      if (parsed.success && parsed.data.node === nodeId) return parsed.data;
      const why = parsed.success ? `it is for node ${parsed.data.node}` : parsed.error.issues[0]?.message;
      log.error({ subject: message.subject, why }, 'A command cannot be understood; it is taken out of the stream.');
    } catch (error) {
      log.error({ subject: message.subject, why: String(error) }, 'A command is not JSON; it is taken out of the stream.');
    }
    return null;
  }

  async #awaitSync(ms: number): Promise<void> {
    const early = new AbortController();
    this.#synced = () => early.abort(new Error('synced'));
    await sleep(ms, AbortSignal.any([early.signal, this.#stopping.signal])).catch(() => undefined);
    this.#synced = () => undefined;
  }
}
