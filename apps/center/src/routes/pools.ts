import { isId } from '@openservice/domain';
import type { AppDeps } from '../http/deps.ts';
import { type App, action, actions, endpoint } from '../http/endpoint.ts';
import { createPool } from '../services/create-pool.ts';
import { deletePool } from '../services/delete-pool.ts';
import { limitPool } from '../services/limits.ts';
import { collectPool, rebuildPool, verifyPool } from '../services/pool-actions.ts';
import { exportKey } from '../services/pool-export-key.ts';
import { getPool, listPools } from '../services/pools.ts';
import { notFound } from '../services/refusal.ts';
import { limits } from './schemas/fields.ts';
import * as schema from './schemas/pools.ts';

const tag = 'pools';

export function poolRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    {
      method: 'get',
      path: '/pools',
      tag,
      summary: 'List pools',
      query: schema.listPoolsQuery,
      answers: { 200: schema.poolsAnswer },
    },
    ({ query }) => listPools(deps.database, query),
  );
  endpoint(
    app,
    { method: 'get', path: '/pools/{pool_id}', id: 'pool', tag, summary: 'One pool', answers: { 200: schema.poolAnswer } },
    ({ id }) => getPool(deps.database, id),
  );
  endpoint(
    app,
    {
      method: 'put',
      path: '/pools',
      tag,
      summary: 'Create a pool',
      body: schema.createPoolBody,
      answers: { 201: schema.poolCreated },
    },
    ({ body, caller }) => createPool(deps, body, caller),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/pools/{pool_id}',
      id: 'pool',
      tag,
      summary: 'Delete a pool; force=true (admin) forgets the replicas in it',
      query: schema.deletePoolQuery,
      answers: { 200: schema.poolDeleted },
    },
    ({ id, query, caller }) => deletePool(deps, id, query.force, caller),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/pools',
      tag,
      summary: 'Delete a pool, named in the query',
      query: schema.deletePoolByQuery,
      answers: { 200: schema.poolDeleted },
    },
    async ({ query, caller }) => {
      if (!isId('pool', query.pool_id)) throw notFound('pool', query.pool_id);
      return deletePool(deps, query.pool_id, query.force, caller);
    },
  );
  actions(
    app,
    {
      path: '/pools/{pool_id}',
      id: 'pool',
      tag,
      summary:
        'Collect garbage, verify all blocks, make the rows anew from what the pool holds; limit the jobs on it; or export its key (admin)',
      answers: { 200: schema.poolKeyExported.or(schema.poolAnswer), 202: schema.poolJob },
    },
    {
      gc: action(schema.poolWorkBody, ({ id, body, caller }) => collectPool(deps, id, body.priority, caller)),
      verify: action(schema.verifyPoolBody, ({ id, body, caller }) => verifyPool(deps, id, body, caller)),
      rebuild: action(schema.poolWorkBody, ({ id, body, caller }) => rebuildPool(deps, id, body.priority, caller)),
      limit: action(limits, ({ id, body, caller }) => limitPool(deps, id, body, caller)),
      export_key: action(schema.exportKeyBody, ({ id, body, caller }) => exportKey(deps, id, body.passphrase, caller)),
    },
  );
}
