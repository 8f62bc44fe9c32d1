import { z } from '@hono/zod-openapi';
import { isId } from '@openservice/domain';
import { eventType } from './events.ts';
import { idOf, name, nodeId, sourceUri, text, time } from './fields.ts';
import { listQuery, nextMarker } from './lists.ts';

const hookId = z
  .string()
  .max(64, 'must be an id of the form hook-…')
  .refine((value) => isId('hook', value), 'must be an id of the form hook-…');

const position = z
  .string()
  .regex(/^[0-9]{1,15}$/, 'must be the id of an event')
  .openapi({ type: 'string' });

export const createWebhookBody = z
  .strictObject({
    name: name(128),
    url: sourceUri(['http:', 'https:']),
    types: z
      .array(eventType)
      .max(64)
      .default([])
      .openapi({ description: 'Types of events; `job` is all of `job.…`; none: all.' }),
    job_id: idOf('job').nullable().default(null),
    block_id: idOf('block').nullable().default(null),
    node_id: nodeId.nullable().default(null),
    pool_id: idOf('pool').nullable().default(null),
    secret: text(256)
      .min(16, 'must be 16 characters at least')
      .optional()
      .openapi({ description: 'Signs what is sent. Left out: one is made, and told in the answer, once.' }),
  })
  .openapi('CreateWebhook');
export type CreateWebhook = z.output<typeof createWebhookBody>;

export const listWebhooksQuery = listQuery(hookId, {});

export const webhookView = z
  .object({
    id: z.string(),
    name: z.string(),
    url: z.string(),
    types: z.array(z.string()),
    job_id: z.string().nullable(),
    block_id: z.string().nullable(),
    node_id: z.string().nullable(),
    pool_id: z.string().nullable(),
    state: z.enum(['active', 'failing']),
    error: z.string().nullable(),
    failing_since: time.nullable(),
    created_at: time,
  })
  .openapi('Webhook');

export const webhookCreated = z.object({ 'webhook-id': z.string(), secret: z.string().optional() });
export const webhooksAnswer = z.object({ webhooks: z.array(webhookView), next_marker: nextMarker });
export const webhookAnswer = z.object({ webhook: webhookView.extend({ pending: z.int(), failed: z.int() }) });
export const webhookDeleted = z.object({ 'webhook-id': z.string() });

export const listDeliveriesQuery = listQuery(position, { state: z.enum(['pending', 'delivered', 'failed']).optional() }).omit({
  sort: true,
});
export type ListDeliveries = z.output<typeof listDeliveriesQuery>;

const deliveryView = z
  .object({
    id: z.string(),
    event_id: z.int(),
    type: z.string(),
    state: z.enum(['pending', 'delivered', 'failed']),
    tries: z.int(),
    status: z.int().nullable(),
    error: z.string().nullable(),
    next_at: time.nullable(),
    updated_at: time,
    event: z.record(z.string(), z.unknown()),
  })
  .openapi('WebhookDelivery');
export const deliveriesAnswer = z.object({ deliveries: z.array(deliveryView), next_marker: nextMarker });

export const redriveBody = z
  .strictObject({
    event_ids: z
      .array(z.int().positive())
      .min(1)
      .max(1000)
      .optional()
      .openapi({ description: 'Left out: all that have failed.' }),
  })
  .openapi('RedriveDeliveries');
export const redriven = z.object({ redriven: z.int() });
