/** Webhooks: who is told of events, and what became of that. The secret is told at most once, and kept sealed. */
import { randomBytes } from 'node:crypto';
import { newId, OpenServiceError } from '@openservice/domain';
import { demandOpenAddress } from '@openservice/runtime';
import {
  type DataSource,
  type EntityManager,
  isDuplicate,
  type Webhook,
  type WebhookDelivery,
  WebhookDeliverySchema,
  WebhookSchema,
} from '@openservice/store';
import { streamState } from '../events/sequence.ts';
import type { AppDeps } from '../http/deps.ts';
import { fromNow, NOW } from '../jobs/clock.ts';
import { audit } from '../jobs/submit-job.ts';
import type { CreateWebhook, ListDeliveries } from '../routes/schemas/webhooks.ts';
import { EXPIRES_MS } from '../webhooks/deliveries.ts';
import { type Answer, decide, refuseKeptAnswer } from './answers.ts';
import type { Caller } from './caller.ts';
import { type PageRequest, page } from './paging.ts';
import { invalidRequest, notFound, Refusal } from './refusal.ts';

/** Each costs the centers a look at every event. */
const MOST_WEBHOOKS = 100;
const SECRET_BYTES = 32;

/** Told of what happens from now on. */
export async function createWebhook(deps: AppDeps, body: CreateWebhook, caller: Caller): Promise<Answer> {
  const { name, url, types, job_id, block_id, node_id, pool_id } = body;
  if (body.secret === undefined) refuseKeptAnswer();
  mustBeOpen(url);
  const secret = body.secret ?? randomBytes(SECRET_BYTES).toString('base64url');
  try {
    return await decide(deps.database, async (manager) => {
      if ((await manager.count(WebhookSchema)) >= MOST_WEBHOOKS) {
        throw new Refusal('too_many_webhooks', `There are ${MOST_WEBHOOKS} webhooks already; delete one that is not needed.`);
      }
      const id = newId('hook');
      const { last } = await streamState(deps.database);
      await manager.query(
        `INSERT INTO webhooks (id, name, url, filters, secret_sealed, state, position, leased_until, created_at)
         VALUES (?, ?, ?, ?, ?, 'active', ?, ${NOW}, ${NOW})`,
        [id, name, url, JSON.stringify({ types, job_id, block_id, node_id, pool_id }), deps.secrets.seal(secret), last],
      );
      await audit(manager, caller.tokenId, 'webhook.create', id, { name, types });
      return { status: 201, body: { 'webhook-id': id, ...(body.secret === undefined ? { secret } : {}) } };
    });
  } catch (error) {
    if (!isDuplicate(error)) throw error;
    throw new Refusal('name_taken', `There is a webhook named "${name}" already; choose another name.`);
  }
}

function mustBeOpen(url: string): void {
  try {
    demandOpenAddress(new URL(url).hostname);
  } catch (error) {
    if (!(error instanceof OpenServiceError)) throw error;
    throw invalidRequest([{ path: 'url', message: error.message }]);
  }
}

export async function listWebhooks({ database }: AppDeps, request: PageRequest): Promise<Answer> {
  const webhooks = database.getRepository(WebhookSchema);
  const { rows, nextMarker } = await page(webhooks.createQueryBuilder('t').where('1 = 1'), request, (id) =>
    webhooks.findOneBy({ id }),
  );
  return { status: 200, body: { webhooks: rows.map(webhookView), next_marker: nextMarker } };
}

export async function getWebhook({ database }: AppDeps, id: string): Promise<Answer> {
  const webhook = await findWebhook(database.manager, id);
  const counts = await database.query<{ state: string; n: string | number }[]>(
    "SELECT state, COUNT(*) AS n FROM webhook_deliveries WHERE webhook_id = ? AND state IN ('pending', 'failed') GROUP BY state",
    [id],
  );
  const count = (state: string): number => Number(counts.find((row) => row.state === state)?.n ?? 0);
  return { status: 200, body: { webhook: { ...webhookView(webhook), pending: count('pending'), failed: count('failed') } } };
}

/** What is under way may still arrive; nothing is sent after it. */
export function deleteWebhook(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    const gone = await manager.delete(WebhookSchema, { id });
    if (gone.affected !== 1) throw notFound('webhook', id);
    await manager.delete(WebhookDeliverySchema, { webhook_id: id });
    await audit(manager, caller.tokenId, 'webhook.delete', id, {});
    return { status: 200, body: { 'webhook-id': id } };
  });
}

/** In the order of events; the marker is the id of one. */
export async function listDeliveries({ database }: AppDeps, id: string, request: ListDeliveries): Promise<Answer> {
  await findWebhook(database.manager, id);
  const query = database.getRepository(WebhookDeliverySchema).createQueryBuilder('t').where('t.webhook_id = :id', { id });
  if (request.state !== undefined) query.andWhere('t.state = :state', { state: request.state });
  if (request.marker !== undefined) query.andWhere('t.position > :marker', { marker: Number(request.marker) });
  const rows = await query
    .orderBy('t.position', 'ASC')
    .limit(request.limit + 1)
    .getMany();
  const more = rows.length > request.limit;
  if (more) rows.pop();
  return { status: 200, body: { deliveries: rows.map(deliveryView), next_marker: more ? String(rows.at(-1)!.position) : null } };
}

/** Failed deliveries are tried again, all or those of `eventIds`, for as long as a new one is. */
export async function redriveDeliveries(
  deps: AppDeps,
  id: string,
  eventIds: readonly number[] | undefined,
  caller: Caller,
): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    await findWebhook(manager, id);
    const { affectedRows } = await manager.query<{ affectedRows: number }>(
      `UPDATE webhook_deliveries SET state = 'pending', tries = 0, next_at = ${NOW}, expires_at = ${fromNow(EXPIRES_MS)}, updated_at = ${NOW}
       WHERE webhook_id = ? AND state = 'failed'${eventIds === undefined ? '' : ` AND position IN (${eventIds.map(() => '?').join(', ')})`}`,
      [id, ...(eventIds ?? [])],
    );
    await audit(manager, caller.tokenId, 'webhook.redrive', id, { redriven: affectedRows });
    return { status: 200, body: { redriven: affectedRows } };
  });
}

async function findWebhook(manager: DataSource['manager'] | EntityManager, id: string): Promise<Webhook> {
  const webhook = await manager.findOneBy(WebhookSchema, { id });
  if (webhook === null) throw notFound('webhook', id);
  return webhook;
}

function webhookView(webhook: Webhook) {
  const { types, job_id, block_id, node_id, pool_id } = webhook.filters;
  return {
    id: webhook.id,
    name: webhook.name,
    url: webhook.url,
    types,
    job_id,
    block_id,
    node_id,
    pool_id,
    state: webhook.state,
    error: webhook.error_message,
    failing_since: webhook.failing_since?.toISOString() ?? null,
    created_at: webhook.created_at.toISOString(),
  };
}

function deliveryView(delivery: WebhookDelivery) {
  return {
    id: `${delivery.webhook_id}/${delivery.position}`,
    event_id: delivery.position,
    type: delivery.type,
    state: delivery.state,
    tries: delivery.tries,
    status: delivery.status,
    error: delivery.error_message,
    next_at: delivery.state === 'pending' ? delivery.next_at.toISOString() : null,
    updated_at: delivery.updated_at.toISOString(),
    event: JSON.parse(delivery.body) as Record<string, unknown>,
  };
}
