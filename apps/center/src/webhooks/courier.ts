/** Delivers to webhooks, in every center: each has those that it leased, up to some at a time. */
import { asOpenServiceError } from '@openservice/domain';
import { type Part, sleep } from '@openservice/runtime';
import { type DataSource, isDatabaseAway } from '@openservice/store';
import type { EventTail } from '../events/tail.ts';
import type { Log } from '../http/deps.ts';
import type { Secrets } from '../secrets.ts';
import { type DueDelivery, nextDue, type Outcome, settle, sweepDeliveries, takeEvents } from './deliveries.ts';
import { leaseDue, release, type WebhookLease } from './lease.ts';
import { WebhookClient } from './post.ts';
import { signature } from './sign.ts';

const LOOK_MS = 1_000;
const AFTER_ERROR_MS = 2_000;
const SWEEP_EVERY_MS = 60_000;
/** Webhooks that one center delivers to at a time. */
const AT_ONCE = 16;
/** For a whole try: connect, send, answer. */
const TRY_MS = 10_000;
const AGENT = 'openservice-webhook/1';

export interface CourierOptions {
  database: DataSource;
  secrets: Pick<Secrets, 'open'>;
  tail: Pick<EventTail, 'state' | 'changed'>;
  log: Pick<Log, 'warn' | 'error'>;
  tryMs?: number;
}

export class Courier implements Part {
  readonly name = 'webhooks';
  readonly #options: CourierOptions;
  readonly #stopping = new AbortController();
  readonly #client = new WebhookClient();
  readonly #at = new Map<string, Promise<void>>();
  #sweptAt = performance.now();
  #work: Promise<void> = Promise.resolve();

  constructor(options: CourierOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#work = this.#run();
  }

  /** A try under way is cut off, and made again by whoever leases the webhook next. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('The center stops.'));
    await this.#work;
    await Promise.all(this.#at.values());
    this.#client.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        const { last: seen } = await this.#options.tail.state();
        await this.pass();
        await Promise.race([this.#options.tail.changed(seen, LOOK_MS), sleep(LOOK_MS, signal).catch(() => undefined)]);
      } catch (error) {
        if (!isDatabaseAway(error)) this.#options.log.error({ err: error }, 'Webhooks cannot be looked at just now; trying on.');
        await sleep(AFTER_ERROR_MS, signal).catch(() => undefined);
      }
    }
  }

  /** Leases what is due and begins to deliver; `settled` waits for it. */
  async pass(): Promise<void> {
    const { database, tail } = this.#options;
    if (performance.now() - this.#sweptAt > SWEEP_EVERY_MS) {
      this.#sweptAt = performance.now();
      await sweepDeliveries(database);
    }
    const room = AT_ONCE - this.#at.size;
    if (room <= 0) return;
    for (const lease of await leaseDue(database, (await tail.state()).last, room)) {
      const work = this.#serve(lease).finally(() => this.#at.delete(lease.id));
      this.#at.set(lease.id, work);
    }
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#at.values());
  }

  /** Never rejects: what could not be done is due again when the lease is over. */
  async #serve(lease: WebhookLease): Promise<void> {
    const { database, tail, log } = this.#options;
    try {
      for (;;) {
        const more = await takeEvents(database, lease, (await tail.state()).last);
        const delivery = this.#stopping.signal.aborted ? null : await nextDue(database, lease);
        if (delivery === null) {
          if (more && !this.#stopping.signal.aborted) continue;
          break;
        }
        const outcome = await this.#try(lease.id, delivery);
        if (outcome === null || !(await settle(database, lease, delivery, outcome))) break;
      }
      await release(database, lease);
    } catch (error) {
      if (!isDatabaseAway(error))
        log.error({ err: error, webhook_id: lease.id }, 'A webhook could not be served; it is tried again.');
    }
  }

  /** Null when the center stops meanwhile. */
  async #try(id: string, delivery: DueDelivery): Promise<Outcome | null> {
    if (delivery.expired) return { ok: false, status: null, error: 'It could not be delivered within a day.' };
    const { database, secrets, tryMs = TRY_MS } = this.#options;
    const [webhook] = await database.query<{ url: string; secret_sealed: string }[]>(
      'SELECT url, secret_sealed FROM webhooks WHERE id = ?',
      [id],
    );
    if (webhook === undefined) return null;
    const limit = AbortSignal.timeout(tryMs);
    try {
      const headers = {
        'Content-Type': 'application/json',
        'User-Agent': AGENT,
        'X-OpenService-Event': delivery.type,
        'X-OpenService-Delivery': `${id}/${delivery.position}`,
        'X-OpenService-Signature': signature(secrets.open(webhook.secret_sealed), delivery.body, Math.floor(Date.now() / 1000)),
      };
      const signal = AbortSignal.any([limit, this.#stopping.signal]);
      return outcomeOf(await this.#client.post(webhook.url, headers, delivery.body, signal));
    } catch (error) {
      if (this.#stopping.signal.aborted) return null;
      if (limit.aborted) return { ok: false, status: null, error: `It did not answer within ${tryMs / 1000} s.` };
      return { ok: false, status: null, error: `It could not be called: ${asOpenServiceError(error).message}` };
    }
  }
}

function outcomeOf({ status, text }: { status: number; text: string }): Outcome {
  if (status >= 200 && status < 300) return { ok: true, status, error: null };
  const moved = status >= 300 && status < 400 ? ' Redirects are not followed; give the webhook the final URL.' : '';
  const said = text.trim() === '' ? '' : ` It said: ${text.trim().replaceAll(/\s+/g, ' ').slice(0, 200)}`;
  return { ok: false, status, error: `It answered ${status}.${moved}${said}` };
}
