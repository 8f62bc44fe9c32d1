/**
 * Takes commands from the node's durable consumer, which a center makes at a sync. Journal first, then the ack: a command that
 * was acknowledged and lost would be found missing by the center, but minutes later.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
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
  /** Journals all commands before it returns, or throws and none: then they are given to it one by one; one that throws alone comes again. */
  onCommands: (commands: readonly Placed[]) => void;
  /** Called after the ack. */
  onAcked: (command: Command) => void;
  /** The stream or the consumer is missing: a sync makes them. */
  askForSync: () => void;
}

export interface Placed {
  command: Command;
  place: Place;
}

interface Taken extends Placed {
  message: JsMsg;
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
    let here: JsMsg[] = [];
    let taking = Promise.resolve();
    for await (const message of messages) {
      count++;
      // What came together is journalled together.
      if (here.push(message) > 1) continue;
      taking = taking.then(async () => {
        await nextTurn();
        const all = here;
        here = [];
        await this.#take(all);
      });
      // Thrown below, when the pull has ended; what was not acknowledged comes again.
      taking.catch(() => messages.stop());
    }
    await taking;
    // A pull that ends at once without a message was refused (the consumer is gone): look at the consumer again.
    if (count === 0 && performance.now() - startedAt < PULL_MS / 2 && !this.#stopping.signal.aborted) {
      throw new Error('The server ended the pull early.');
    }
  }

  async #take(messages: readonly JsMsg[]): Promise<void> {
    const commands: Taken[] = [];
    for (const message of messages) {
      const command = this.#parse(message);
      if (command === null) message.term();
      else commands.push({ command, message, place: { seq: message.seq, again: message.redelivered } });
    }
    const taken = this.#journal(commands);
    for (const { message } of taken) {
      await failpoint('agent.journalled');
      message.ack();
    }
    for (const { command } of taken) {
      await failpoint('agent.acked');
      this.#options.onAcked(command);
    }
  }

  /** Answers those that are journalled. */
  #journal(commands: readonly Taken[]): readonly Taken[] {
    const { log, onCommands } = this.#options;
    if (commands.length > 1) {
      try {
        onCommands(commands);
        return commands;
      } catch (error) {
        log.warn({ err: error, commands: commands.length }, 'Commands could not be journalled together; trying one by one.');
      }
    }
    return commands.filter((one) => {
      try {
        onCommands([one]);
        return true;
      } catch (error) {
        const { job_id } = one.command;
        log.error({ err: error, job_id }, 'A command could not be journalled; it is left in the stream and comes again.');
        one.message.nak(1000);
        return false;
      }
    });
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
