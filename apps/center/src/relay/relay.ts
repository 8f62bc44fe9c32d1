/**
 * The relay: from the outbox to JetStream. Runs in every center; SKIP LOCKED gives each its own rows. A row goes again under a
 * new message id until ingest has seen an event of its attempt, so a message that NATS loses is only late.
 */
import { cmdSubject, encodeJson } from '@openservice/protocol';
import { failpoint, type Part, sleep } from '@openservice/runtime';
import { isDatabaseAway } from '@openservice/store';
import type { Plane } from '../plane.ts';
import { admit } from './admission.ts';
import { envelopeOf, giveBack, type LeasedCommand, leaseDue, lookForDue, markSent } from './lease.ts';
import { Link } from './link.ts';
import { ensureAll } from './streams.ts';

/** How long a row of another center, or one that comes due, may lie unseen, ms. */
const LOOK_MS = 500;
const PUBLISH_LIMIT_MS = 5_000;
const AFTER_ERROR_MS = 1_000;

export class Relay implements Part {
  readonly name = 'relay';
  readonly #plane: Plane;
  readonly #stopping = new AbortController();
  #wake: AbortController = new AbortController();
  #poked = false;
  /** The last look saw commands that a limit holds back. */
  #holds = false;
  readonly #link: Link;
  #work: Promise<void> = Promise.resolve();

  constructor(plane: Plane) {
    this.#plane = plane;
    this.#link = new Link(plane.nc, () => this.#onReconnect());
  }

  async start(): Promise<void> {
    this.#work = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake.abort();
    await this.#work;
  }

  /** Looks at the outbox now: call it after a commit that wrote there. Costs nothing to call often. */
  poke(): void {
    this.#poked = true;
    this.#wake.abort();
  }

  /** A job has ended: call it after that commit. Looks at the outbox only if a command waits for room there. */
  roomMade(): void {
    if (this.#holds) this.poke();
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      let pauseMs = LOOK_MS;
      try {
        this.#poked = false;
        if (!(await this.#pass())) pauseMs = AFTER_ERROR_MS;
      } catch (error) {
        pauseMs = AFTER_ERROR_MS;
        if (isDatabaseAway(error)) this.#plane.log.debug({ err: error }, 'The relay waits for the database.');
        else this.#plane.log.error({ err: error }, 'The relay could not look at the outbox; it looks again.');
      }
      await this.#pause(pauseMs);
    }
  }

  async #pause(ms: number): Promise<void> {
    if (this.#poked) return;
    this.#wake = new AbortController();
    if (this.#stopping.signal.aborted) return;
    await sleep(ms, this.#wake.signal).catch(() => undefined);
  }

  #onReconnect(): void {
    const { nc, database, log } = this.#plane;
    ensureAll(nc, database)
      .catch((error: unknown) => log.warn({ err: error }, 'JetStream is not ready after the reconnect; it is tried again.'))
      .finally(() => this.poke());
  }

  /** Sends all that is due. False when NATS took none of a batch: time to wait. */
  async #pass(): Promise<boolean> {
    for (;;) {
      if (this.#stopping.signal.aborted || !this.#link.isUp) return false;
      const commands = await this.#lease();
      if (commands.length === 0) return true;
      const sent = await this.#sendAll(commands);
      if (sent === 0) {
        await ensureAll(this.#plane.nc, this.#plane.database).catch((error: unknown) => {
          this.#plane.log.warn({ err: error }, 'JetStream does not answer; commands wait in the outbox.');
        });
        return false;
      }
    }
  }

  async #lease(): Promise<LeasedCommand[]> {
    const { database } = this.#plane;
    const due = await lookForDue(database);
    this.#holds = due.held;
    if (!due.held || (await admit(database)) === 0) return leaseDue(database, due.priorities);
    return leaseDue(database, (await lookForDue(database)).priorities);
  }

  /** How many JetStream took. */
  async #sendAll(commands: readonly LeasedCommand[]): Promise<number> {
    const taken = await Promise.all(commands.map((command) => this.#send(command)));
    const sent = commands.filter((_, i) => taken[i]);
    await markSent(this.#plane.database, sent);
    return sent.length;
  }

  async #send(command: LeasedCommand): Promise<boolean> {
    const { database, nc, log } = this.#plane;
    const envelope = envelopeOf(command);
    try {
      await nc.jetstream().publish(cmdSubject(command.node_id, command.type), encodeJson(envelope), {
        msgID: envelope.id,
        timeout: PUBLISH_LIMIT_MS,
      });
    } catch (error) {
      log.warn({ err: error, job_id: command.job_id, type: command.type }, 'A command could not be published; it goes again.');
      await giveBack(database, command);
      return false;
    }
    await failpoint('center.published');
    log.debug({ job_id: command.job_id, attempt: command.attempt, type: command.type, tries: command.tries }, 'Command sent.');
    return true;
  }
}
