import type { AppDeps } from '../http/deps.ts';
import { type App, action, actions, endpoint } from '../http/endpoint.ts';
import {
  createWebhook,
  deleteWebhook,
  getWebhook,
  listDeliveries,
  listWebhooks,
  redriveDeliveries,
} from '../services/webhooks.ts';
import * as schema from './schemas/webhooks.ts';

const tag = 'webhooks';
const id = 'webhook';
/** They send what happens here to somewhere else. */
const role = 'admin';

export function webhookRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    {
      method: 'get',
      path: '/webhooks',
      tag,
      role,
      summary: 'List webhooks',
      query: schema.listWebhooksQuery,
      answers: { 200: schema.webhooksAnswer },
    },
    ({ query }) => listWebhooks(deps, query),
  );
  endpoint(
    app,
    {
      method: 'put',
      path: '/webhooks',
      tag,
      role,
      summary: 'Create a webhook, told of events from now on; takes no Idempotency-Key where the secret is made here',
      body: schema.createWebhookBody,
      answers: { 201: schema.webhookCreated },
    },
    ({ body, caller }) => createWebhook(deps, body, caller),
  );
  endpoint(
    app,
    {
      method: 'get',
      path: '/webhooks/{webhook_id}',
      id,
      tag,
      role,
      summary: 'One webhook, and how many of its deliveries wait or have failed',
      answers: { 200: schema.webhookAnswer },
    },
    (input) => getWebhook(deps, input.id),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/webhooks/{webhook_id}',
      id,
      tag,
      role,
      summary: 'Delete a webhook and its deliveries',
      answers: { 200: schema.webhookDeleted },
    },
    (input) => deleteWebhook(deps, input.id, input.caller),
  );
  endpoint(
    app,
    {
      method: 'get',
      path: '/webhooks/{webhook_id}/deliveries',
      id,
      tag,
      role,
      summary: 'List what was sent, waits, or has failed, in the order of events',
      query: schema.listDeliveriesQuery,
      answers: { 200: schema.deliveriesAnswer },
    },
    (input) => listDeliveries(deps, input.id, input.query),
  );
  actions(
    app,
    {
      path: '/webhooks/{webhook_id}/deliveries',
      id,
      tag,
      role,
      summary: 'Try failed deliveries again',
      answers: { 200: schema.redriven },
    },
    {
      redrive: action(schema.redriveBody, (input) => redriveDeliveries(deps, input.id, input.body.event_ids, input.caller)),
    },
  );
}
