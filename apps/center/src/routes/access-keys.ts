import type { AppDeps } from '../http/deps.ts';
import { type App, endpoint } from '../http/endpoint.ts';
import { createAccessKey, deleteAccessKey, listAccessKeys } from '../services/access-keys.ts';
import * as schema from './schemas/access-keys.ts';

const tag = 'access keys';
const role = 'admin';

export function accessKeyRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    {
      method: 'get',
      path: '/access_keys',
      tag,
      role,
      summary: 'List the keys that other centers use pools with; secrets are never shown again',
      query: schema.listAccessKeysQuery,
      answers: { 200: schema.accessKeysAnswer },
    },
    ({ query }) => listAccessKeys(deps, query),
  );
  endpoint(
    app,
    {
      method: 'put',
      path: '/access_keys',
      tag,
      role,
      summary: 'Create a key with which another center uses a pool of a node; takes no Idempotency-Key',
      body: schema.createAccessKeyBody,
      answers: { 201: schema.accessKeyCreated },
    },
    ({ body, caller }) => createAccessKey(deps, body, caller),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/access_keys/{access_key_id}',
      id: 'access_key',
      tag,
      role,
      summary: 'Delete a key, named by its access_key',
      answers: { 200: schema.accessKeyDeleted },
    },
    ({ id, caller }) => deleteAccessKey(deps, id, caller),
  );
}
