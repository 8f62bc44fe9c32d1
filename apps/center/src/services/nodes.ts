/** Nodes: reading them, and taking them out of service and back. */
import { type DataSource, type EntityManager, NodeSchema, type NodeState } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import { askToStay, Drains } from '../reconcile/drain.ts';
import { type Answer, decide } from './answers.ts';
import type { Caller } from './caller.ts';
import { findNode } from './lookups.ts';
import { containing, type PageRequest, page } from './paging.ts';
import { Refusal } from './refusal.ts';
import { nodeView } from './views.ts';

export interface NodeFilters {
  filter?: string | undefined;
  state?: NodeState | undefined;
}

export async function listNodes(database: DataSource, request: PageRequest & NodeFilters): Promise<Answer> {
  const nodes = database.getRepository(NodeSchema);
  const query = nodes.createQueryBuilder('t').where('1 = 1');
  if (request.filter !== undefined) query.andWhere('LOWER(t.name) LIKE LOWER(:part)', { part: containing(request.filter) });
  if (request.state !== undefined) query.andWhere('t.state = :state', { state: request.state });
  const { rows, nextMarker } = await page(query, request, (id) => nodes.findOneBy({ id }));
  return { status: 200, body: { nodes: rows.map(nodeView), next_marker: nextMarker } };
}

export async function getNode(database: DataSource, id: string): Promise<Answer> {
  return { status: 200, body: { node: nodeView(await findNode(database.manager, id)) } };
}

/**
 * No new jobs go to the node, and those it has go to others that can do them; the node is drained when it has none. Its instances stay there,
 * and the answer names them. Again is no error.
 */
export async function drain(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  const answer = await setState(deps, id, 'draining', caller);
  // Reconcile does it over and over; here it begins.
  await new Drains(deps.database).empty(id);
  deps.relay.poke();
  return answer;
}

/** The node takes jobs again. One that is away becomes online when it is heard of. */
export function activate(deps: AppDeps, id: string, caller: Caller): Promise<Answer> {
  return setState(deps, id, 'online', caller);
}

function setState(deps: AppDeps, id: string, state: 'draining' | 'online', caller: Caller): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    const before = await findNode(manager, id);
    const drains = before.state === 'draining' || before.state === 'drained';
    if (state === 'draining' && !drains) {
      if (before.state !== 'online') {
        throw new Refusal('node_not_online', `Node ${id} is ${before.state}; only a node that is online can be drained.`);
      }
      await manager.update(NodeSchema, { id, state: before.state }, { state });
    }
    if (state === 'online' && drains) {
      await manager.update(NodeSchema, { id }, { state });
      await askToStay(manager, id);
    }
    await audit(manager, caller.tokenId, state === 'online' ? 'node.activate' : 'node.drain', id, {});
    const node = nodeView(await findNode(manager, id));
    return { status: 200, body: state === 'online' ? { node } : { node, instances: await instancesOn(manager, id) } };
  });
}

async function instancesOn(manager: EntityManager, nodeId: string): Promise<string[]> {
  const rows = await manager.query<{ id: string }[]>('SELECT id FROM cdm_instances WHERE node_id = ? ORDER BY id', [nodeId]);
  return rows.map(({ id }) => id);
}
