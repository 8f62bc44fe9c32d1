import type { AppDeps } from '../http/deps.ts';
import { type App, endpoint } from '../http/endpoint.ts';
import { deleteSet } from '../services/delete-set.ts';
import { createSet, getSet, listSets } from '../services/sets.ts';
import * as schema from './schemas/sets.ts';

const tag = 'sets';

export function setRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    { method: 'get', path: '/sets', tag, summary: 'List sets', query: schema.listSetsQuery, answers: { 200: schema.setsAnswer } },
    ({ query }) => listSets(deps.database, query),
  );
  endpoint(
    app,
    {
      method: 'get',
      path: '/sets/{set_id}',
      id: 'set',
      tag,
      summary: 'One set with its blocks',
      answers: { 200: schema.setAnswer },
    },
    ({ id }) => getSet(deps.database, id),
  );
  endpoint(
    app,
    {
      method: 'put',
      path: '/sets',
      tag,
      summary: 'Create a set',
      body: schema.createSetBody,
      answers: { 201: schema.setCreated },
    },
    ({ body, caller }) => createSet(deps, body, caller),
  );
  endpoint(
    app,
    {
      method: 'delete',
      path: '/sets/{set_id}',
      id: 'set',
      tag,
      summary: 'Delete a set; cascade=true (admin) deletes its blocks too, a job each',
      query: schema.deleteSetQuery,
      answers: { 200: schema.setDeleted, 202: schema.setDeleted },
    },
    ({ id, query, caller }) => deleteSet(deps, id, query, caller),
  );
}
