import type { AppDeps } from '../http/deps.ts';
import { type App, actions, endpoint } from '../http/endpoint.ts';
import { activate, drain, getNode, listNodes } from '../services/nodes.ts';
import * as schema from './schemas/nodes.ts';

const tag = 'nodes';

export function nodeRoutes(app: App, deps: AppDeps): void {
  endpoint(
    app,
    {
      method: 'get',
      path: '/nodes',
      tag,
      summary: 'List nodes',
      query: schema.listNodesQuery,
      answers: { 200: schema.nodesAnswer },
    },
    ({ query }) => listNodes(deps.database, query),
  );
  endpoint(
    app,
    { method: 'get', path: '/nodes/{node_id}', id: 'node', tag, summary: 'One node', answers: { 200: schema.nodeAnswer } },
    ({ id }) => getNode(deps.database, id),
  );
  actions(
    app,
    {
      path: '/nodes/{node_id}',
      id: 'node',
      tag,
      role: 'admin',
      summary: 'Drain or activate a node',
      answers: { 200: schema.nodeAnswer },
    },
    {
      drain: { handle: ({ id, caller }) => drain(deps, id, caller) },
      activate: { handle: ({ id, caller }) => activate(deps, id, caller) },
    },
  );
}
