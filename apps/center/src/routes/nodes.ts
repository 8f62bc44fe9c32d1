import type { AppDeps } from '../http/deps.ts';
import { type App, action, actions, endpoint } from '../http/endpoint.ts';
import { limitNode } from '../services/limits.ts';
import { activate, drain, getNode, listNodes } from '../services/nodes.ts';
import { limits } from './schemas/fields.ts';
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
      summary: 'Drain a node, activate it, or limit the jobs on it',
      answers: { 200: schema.nodeActed },
    },
    {
      drain: { handle: ({ id, caller }) => drain(deps, id, caller) },
      activate: { handle: ({ id, caller }) => activate(deps, id, caller) },
      limit: action(limits, ({ id, body, caller }) => limitNode(deps, id, body, caller)),
    },
  );
}
