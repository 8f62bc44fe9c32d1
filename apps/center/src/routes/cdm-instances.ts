import type { AppDeps } from '../http/deps.ts';
import { type App, action, actions, endpoint } from '../http/endpoint.ts';
import { hydrateInstance } from '../services/hydrate-instance.ts';
import { getInstance, listInstances } from '../services/instances.ts';
import { loadInstance } from '../services/load-instance.ts';
import { rewindInstance } from '../services/rewind-instance.ts';
import { saveInstance } from '../services/save-instance.ts';
import { unloadInstance } from '../services/unload-instance.ts';
import * as schema from './schemas/cdm-instances.ts';

const tag = 'cdm instances';

export function cdmInstanceRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    {
      method: 'get',
      path: '/cdm_instances',
      tag,
      summary: 'List instances',
      query: schema.listInstancesQuery,
      answers: { 200: schema.instancesAnswer },
    },
    ({ query }) => listInstances(deps.database, query),
  );
  endpoint(
    app,
    {
      method: 'get',
      path: '/cdm_instances/{ins_id}',
      id: 'cdm_instance',
      tag,
      summary: 'One instance: the NBD URIs of its disks, what was read and written, and the commands to use them',
      answers: { 200: schema.instanceAnswer },
    },
    ({ id }) => getInstance(deps, id),
  );
  endpoint(
    app,
    {
      method: 'put',
      path: '/cdm_instances',
      tag,
      summary: 'Load a block, or all blocks of a set, as live disks; nothing is copied',
      body: schema.loadBody,
      answers: { 202: schema.instanceJob },
    },
    ({ body, caller }) => loadInstance(deps, body, caller),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/cdm_instances/{ins_id}',
      id: 'cdm_instance',
      tag,
      summary: 'Remove an instance and what was written to it; save=true keeps that as new blocks',
      query: schema.deleteInstanceQuery,
      answers: { 200: schema.instanceForgotten, 202: schema.instanceJob },
    },
    ({ id, query, caller }) => unloadInstance(deps, id, query, caller),
  );
  actions(
    app,
    {
      path: '/cdm_instances/{ins_id}',
      id: 'cdm_instance',
      tag,
      summary: 'Save an instance as new blocks, rewind it to its blocks, or hydrate it: copy the blocks near its node',
      answers: { 202: schema.instanceJob },
    },
    {
      save: action(schema.saveBody, ({ id, body, caller }) => saveInstance(deps, id, body, caller)),
      rewind: action(schema.rewindBody, ({ id, body, caller }) => rewindInstance(deps, id, body, caller)),
      hydrate: action(schema.hydrateBody, ({ id, body, caller }) => hydrateInstance(deps, id, body, caller)),
    },
  );
}
